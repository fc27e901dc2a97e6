//! The files of a form (`multipart/form-data`, RFC 7578) in a body that is whole in memory.

/// Longest boundary.
const LONGEST: usize = 70;
/// Most parts of a form.
const MOST: usize = 16;
/// Longest head of a part.
const HEAD: usize = 8 << 10;

/// The boundary that a `Content-Type` names; none where it is no form's.
pub(crate) fn boundary(kind: &str) -> Option<&str> {
    let (name, parameters) = kind.split_once(';')?;
    let named = parameters.split(';').find_map(|one| {
        let (key, value) = one.split_once('=')?;
        key.trim().eq_ignore_ascii_case("boundary").then(|| value.trim().trim_matches('"'))
    })?;
    let form = name.trim().eq_ignore_ascii_case("multipart/form-data");
    (form && (1..=LONGEST).contains(&named.len())).then_some(named)
}

/// The contents of the parts, in their order.
///
/// # Errors
/// What is wrong with the form.
pub(crate) fn parts<'a>(body: &'a [u8], boundary: &str) -> Result<Vec<&'a [u8]>, String> {
    let said = |what: &str| format!("the form: {what}");
    let line = [b"--", boundary.as_bytes()].concat();
    let between = [b"\r\n".as_slice(), &line].concat();
    // What stands before the first line is nothing.
    let mut rest = match body.strip_prefix(line.as_slice()) {
        Some(rest) => rest,
        None => split(body, &between).ok_or_else(|| said("its boundary is missing"))?.1,
    };
    let mut all = Vec::new();
    loop {
        if rest.starts_with(b"--") {
            return Ok(all);
        }
        if all.len() == MOST {
            return Err(said(&format!("more than {MOST} parts")));
        }
        let (part, after) = split(rest, &between).ok_or_else(|| said("its end is missing"))?;
        let (head, content) = split(part, b"\r\n\r\n").ok_or_else(|| said("a part has no head"))?;
        if head.len() > HEAD {
            return Err(said(&format!("a part's head is above {HEAD} bytes")));
        }
        all.push(content);
        rest = after;
    }
}

/// What stands before and behind the first place of some bytes.
fn split<'a>(bytes: &'a [u8], wanted: &[u8]) -> Option<(&'a [u8], &'a [u8])> {
    let at = bytes.windows(wanted.len()).position(|window| window == wanted)?;
    Some((&bytes[..at], &bytes[at + wanted.len()..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADED: &str = "\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\n";

    #[test]
    fn boundaries_are_those_of_forms() {
        for (kind, expected) in [
            ("multipart/form-data; boundary=xyz", Some("xyz")),
            ("Multipart/Form-Data; charset=a; Boundary=\"x y\"", Some("x y")),
            ("multipart/form-data", None),
            ("multipart/form-data; boundary=", None),
            ("multipart/mixed; boundary=xyz", None),
            ("image/png", None),
        ] {
            assert_eq!(boundary(kind), expected, "{kind}");
        }
        assert_eq!(boundary(&format!("multipart/form-data; boundary={}", "x".repeat(71))), None);
    }

    #[test]
    fn parts_are_bytes_as_they_were_sent() {
        let body = format!(
            "before\r\n--b{HEADED}one\r\n\r\n--\r\n--b{HEADED}\r\n--b\r\n\r\nthree\r\n--b--after"
        );
        let expected: [&[u8]; 3] = [b"one\r\n\r\n--", b"", b"three"];
        assert_eq!(parts(body.as_bytes(), "b").unwrap(), expected);
        assert_eq!(parts(&body.as_bytes()[8..], "b").unwrap(), expected);
        assert_eq!(parts(b"--b--", "b").unwrap(), [b""; 0]);
    }

    #[test]
    fn a_form_that_is_cut_anywhere_or_too_large_is_refused() {
        let body = format!("--b{HEADED}one\r\n--b--");
        for length in 0..body.len() - 2 {
            let refused = parts(&body.as_bytes()[..length], "b").unwrap_err();
            assert!(refused.contains("missing"), "{length}: {refused}");
        }
        assert!(parts(b"--b\r\nno head\r\n--b--", "b").unwrap_err().contains("no head"));
        let many = format!("--b{HEADED}\r\n").repeat(17) + "--b--";
        assert!(parts(many.as_bytes(), "b").unwrap_err().contains("16 parts"));
        let long = format!("--b\r\n{}\r\n\r\n\r\n--b--", "x".repeat(9000));
        assert!(parts(long.as_bytes(), "b").unwrap_err().contains("8192"));
    }
}
