//! API keys: only their hashes are held, and hashes are compared in constant time.

use crate::{Error, Result};
use axum::http::{HeaderMap, HeaderValue, header};
use std::fs;
use std::path::Path;

/// Shortest key, in bytes: shorter ones can be guessed.
const SHORTEST: usize = 16;

/// The keys that may ask.
#[derive(Debug)]
pub(crate) struct Keys(Vec<blake3::Hash>);

impl Keys {
    /// Reads a file of keys, one a line.
    ///
    /// # Errors
    /// A file that cannot be read, has no key, or a key that is too short.
    pub(crate) fn read(file: &Path) -> Result<Self> {
        let said = |reason: String| Error::File { place: file.display().to_string(), reason };
        let text = fs::read_to_string(file).map_err(|error| said(error.to_string()))?;
        let lines = text.lines().map(str::trim).enumerate().filter(|(_, key)| !key.is_empty());
        let hash = |(line, key): (usize, &str)| {
            if key.len() < SHORTEST {
                let line = line + 1;
                return Err(said(format!("line {line}: a key has at least {SHORTEST} characters")));
            }
            Ok(blake3::hash(key.as_bytes()))
        };
        let keys: Vec<_> = lines.map(hash).collect::<Result<_>>()?;
        if keys.is_empty() {
            return Err(said("no key; one a line is needed".into()));
        }
        Ok(Self(keys))
    }

    /// Whether a request has one of the keys, as `Authorization: Bearer KEY` or `X-API-Key: KEY`.
    pub(crate) fn admit(&self, headers: &HeaderMap) -> bool {
        let bearer = headers.get(header::AUTHORIZATION).and_then(|value| {
            let (scheme, key) = value.as_bytes().split_at_checked(7)?;
            scheme.eq_ignore_ascii_case(b"bearer ").then_some(key)
        });
        let given = bearer.or_else(|| headers.get("x-api-key").map(HeaderValue::as_bytes));
        let given = blake3::hash(given.unwrap_or_default());
        // The comparison of two hashes takes the same time wherever they differ, and all are compared.
        self.0.iter().filter(|key| **key == given).count() > 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_keys_are_admitted() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("keys");
        fs::write(&file, "first-key-of-some-length\n\n second-key-of-some-length \n").unwrap();
        let keys = Keys::read(&file).unwrap();
        let admitted = |name: &'static str, value: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(name, value.parse().unwrap());
            keys.admit(&headers)
        };
        assert!(admitted("authorization", "Bearer first-key-of-some-length"));
        assert!(admitted("authorization", "bearer second-key-of-some-length"));
        assert!(admitted("x-api-key", "second-key-of-some-length"));
        for wrong in ["Bearer first-key-of-some-lengt", "Bearer ", "Basic x", "", "Bearer"] {
            assert!(!admitted("authorization", wrong), "{wrong}");
        }
        assert!(!admitted("x-api-key", "") && !keys.admit(&HeaderMap::new()));
        for (text, said) in [("", "no key"), ("short\n", "line 1: a key has at least 16")] {
            fs::write(&file, text).unwrap();
            assert!(Keys::read(&file).unwrap_err().to_string().contains(said));
        }
    }
}
