//! Pages of other sites: a browser sends what they ask for from where this server trusts whoever reaches it.

use crate::refusal::Refusal;
use axum::http::{HeaderMap, Method, header};
use std::net::IpAddr;

/// Refuses what a page of another site sends to change something. Programs send none of these headers.
///
/// # Errors
/// 403.
pub(crate) fn same_site(method: &Method, headers: &HeaderMap) -> Result<(), Refusal> {
    if method.is_safe() {
        return Ok(());
    }
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let site = text("sec-fetch-site").is_none_or(|site| ["same-origin", "none"].contains(&site));
    let host = text(header::HOST.as_str());
    let origin = text(header::ORIGIN.as_str()).is_none_or(|origin| {
        origin.split_once("://").map(|(_, authority)| authority) == host && host.is_some()
    });
    if site && origin {
        return Ok(());
    }
    Err(Refusal::Foreign("pages of other sites may not ask for this".into()))
}

/// Refuses a name that is neither an address nor this machine's own: a site may give its name this server's address.
/// To be asked only where no key is needed.
///
/// # Errors
/// 403.
pub(crate) fn own_name(headers: &HeaderMap) -> Result<(), Refusal> {
    let host = headers.get(header::HOST).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    };
    let bare = name.trim_start_matches('[').trim_end_matches(']');
    if name.eq_ignore_ascii_case("localhost") || bare.parse::<IpAddr>().is_ok() {
        return Ok(());
    }
    let said = format!("host `{name}`; without api_keys allowed: localhost or an IP address");
    Err(Refusal::Foreign(said))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(told: &[(&'static str, &str)]) -> HeaderMap {
        told.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect()
    }

    #[test]
    fn pages_of_other_sites_change_nothing() {
        let asked = |method, told: &[_]| same_site(&method, &headers(told)).is_ok();
        let host = ("host", "127.0.0.1:8080");
        assert!(asked(Method::POST, &[]) && asked(Method::POST, &[host]));
        assert!(asked(Method::PUT, &[host, ("origin", "http://127.0.0.1:8080")]));
        assert!(asked(Method::PUT, &[host, ("sec-fetch-site", "same-origin")]));
        for foreign in [
            ("origin", "http://elsewhere.example"),
            ("origin", "null"),
            ("origin", "http://127.0.0.1:9090"),
            ("sec-fetch-site", "cross-site"),
            ("sec-fetch-site", "same-site"),
        ] {
            assert!(!asked(Method::POST, &[host, foreign]), "{foreign:?}");
            assert!(asked(Method::GET, &[host, foreign]), "{foreign:?}");
        }
    }

    #[test]
    fn names_of_others_are_refused() {
        for (host, own) in [
            ("localhost:8080", true),
            ("127.0.0.1", true),
            ("[::1]:8080", true),
            ("LOCALHOST", true),
            ("evil.example:8080", false),
            ("localhost.evil.example", false),
            ("127.0.0.1.evil.example", false),
            ("", false),
        ] {
            assert_eq!(own_name(&headers(&[("host", host)])).is_ok(), own, "{host}");
        }
    }
}
