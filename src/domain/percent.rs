//! Names inside of URLs.

/// RFC 3986, 2.1 and 2.3: everything but the unreserved characters is written as the number of its bytes.
pub fn percent_encoded(text: &str) -> String {
    let encode = |byte: u8| {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            char::from(byte).to_string()
        } else {
            format!("%{byte:02X}")
        }
    };
    text.bytes().map(encode).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_a_meaning_in_a_url_loses_it() {
        assert_eq!(percent_encoded("M-1"), "M-1");
        assert_eq!(percent_encoded("a&b=c%/?#"), "a%26b%3Dc%25%2F%3F%23");
        assert_eq!(percent_encoded("杭州"), "%E6%9D%AD%E5%B7%9E");
    }
}
