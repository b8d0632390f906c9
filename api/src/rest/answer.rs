//! Encodes answers as JSON, with their revision as a header.

use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use super::extract::Headers;
use crate::json::Problem;
use crate::service::{At, Page};

/// The header with the revision at which an answer is true.
pub(super) const REVISION: HeaderName = HeaderName::from_static("batuta-revision");

/// The header that tells that the caller may not see everything that it asked for.
pub(super) const FILTERED: HeaderName = HeaderName::from_static("batuta-filtered");

/// The result of a handler.
pub(super) type Result<T> = std::result::Result<Answer<T>, Problem>;

/// A successful answer.
#[derive(Debug)]
pub(super) struct Answer<T> {
    status: StatusCode,
    revision: u64,
    filtered: bool,
    location: Option<String>,
    etag: Option<String>,
    body: T,
}

impl<T> Answer<T> {
    /// Makes an answer with status 200 and a body that is true at a revision.
    pub(super) fn at(revision: u64, body: T) -> Self {
        Self { status: StatusCode::OK, revision, filtered: false, location: None, etag: None, body }
    }

    /// Makes an answer with status 200 from the answer of a use case.
    pub(super) fn of<V>(at: At<V>) -> Self
    where
        T: From<At<V>>,
    {
        Self::at(at.revision, at.into())
    }

    /// Makes an answer with status 200 from a page of a listing, which says in a header, too, whether it is filtered.
    pub(super) fn page<V, P>(at: At<Page<V, P>>) -> Self
    where
        T: From<At<Page<V, P>>>,
    {
        let filtered = at.value.filtered;
        Self::of(at).filtered(filtered)
    }

    /// Notes whether the caller may not see everything that it asked for.
    pub(super) fn filtered(self, filtered: bool) -> Self {
        Self { filtered, ..self }
    }

    /// Sets status 201, and the location where the created object can be read.
    pub(super) fn created(mut self, location: String) -> Self {
        self.status = StatusCode::CREATED;
        self.location = Some(location);
        self
    }

    /// Adds an entity tag. A client that already has the body gets 304 without a body.
    pub(super) fn tagged(mut self, etag: String, headers: &Headers) -> Self {
        if headers.has_already(&etag) {
            self.status = StatusCode::NOT_MODIFIED;
        }
        self.etag = Some(etag);
        self
    }
}

impl<T: Serialize> IntoResponse for Answer<T> {
    fn into_response(self) -> Response {
        let mut response = if self.status == StatusCode::NOT_MODIFIED {
            self.status.into_response()
        } else {
            (self.status, axum::Json(self.body)).into_response()
        };
        response.headers_mut().insert(REVISION, HeaderValue::from(self.revision));
        if self.filtered {
            response.headers_mut().insert(FILTERED, HeaderValue::from_static("true"));
        }
        // A location consists of percent-encoded segments, which are valid in a header.
        if let Some(location) = self.location.and_then(|text| HeaderValue::try_from(text).ok()) {
            response.headers_mut().insert(header::LOCATION, location);
        }
        // A tag is a number in quotes.
        if let Some(etag) = self.etag.and_then(|text| HeaderValue::try_from(text).ok()) {
            response.headers_mut().insert(header::ETAG, etag);
        }
        response
    }
}

/// Encodes a text as one segment of a path: everything but unreserved characters is percent-encoded, including slashes.
pub(super) fn path_segment(text: &str) -> String {
    let mut segment = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            segment.push(char::from(byte));
        } else {
            segment.push('%');
            segment.extend(
                [byte >> 4, byte & 15].map(|digit| char::from(b"0123456789ABCDEF"[usize::from(digit)])),
            );
        }
    }
    segment
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn name_is_one_segment_of_a_location() {
        for (text, segment) in [
            ("orders/42", "orders%2F42"),
            ("a b%", "a%20b%25"),
            ("größe", "gr%C3%B6%C3%9Fe"),
            ("A-z_0.~", "A-z_0.~"),
        ] {
            assert_eq!(path_segment(text), segment);
        }
    }

    #[test]
    fn filtered_page_says_so_in_a_header() {
        for filtered in [false, true] {
            let response = Answer::at(1, ()).filtered(filtered).into_response();
            assert_eq!(response.headers().get("batuta-filtered").is_some(), filtered);
        }
    }

    #[test]
    fn answer_has_its_revision_and_location() {
        let response = Answer::at(17, ()).created("/api/v1/locks/a%2Fb".to_owned()).into_response();
        assert_eq!(response.status(), StatusCode::CREATED);
        assert_eq!(response.headers()["batuta-revision"], "17");
        assert_eq!(response.headers()["location"], "/api/v1/locks/a%2Fb");
    }
}
