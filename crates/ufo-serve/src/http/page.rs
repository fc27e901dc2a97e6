//! The pages: files inside the binary, which ask this server and no other.

use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};

fn file(kind: &'static str, text: &'static str) -> Response {
    let policy = "default-src 'self'; img-src 'self' blob: data:; base-uri 'none'; form-action 'none'; \
                  frame-ancestors 'none'";
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static(kind)),
        (header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(policy)),
        (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
        (header::REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
    ];
    (headers, text).into_response()
}

macro_rules! files {
    ($($(#[$doc:meta])* $name:ident: $kind:literal, $file:literal;)*) => {$(
        $(#[$doc])*
        pub(crate) async fn $name() -> Response {
            file($kind, include_str!(concat!("page/", $file)))
        }
    )*};
}

files! {
    /// `GET /`
    index: "text/html; charset=utf-8", "index.html";
    /// `GET /page.css`
    style: "text/css; charset=utf-8", "page.css";
    /// `GET /page.js`
    script: "text/javascript; charset=utf-8", "page.js";
    /// `GET /shared.js`
    shared: "text/javascript; charset=utf-8", "shared.js";
    /// `GET /seen.js`
    seen: "text/javascript; charset=utf-8", "seen.js";
    /// `GET /studio`
    studio: "text/html; charset=utf-8", "studio.html";
    /// `GET /studio.js`
    studio_script: "text/javascript; charset=utf-8", "studio.js";
    /// `GET /work.js`
    work: "text/javascript; charset=utf-8", "work.js";
    /// `GET /archive.js`
    archive: "text/javascript; charset=utf-8", "archive.js";
}
