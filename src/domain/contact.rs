//! Addresses that messages are sent to: what one looks like, not whether somebody is there.
//!
//! Refused is what no server would take, and what would send a message elsewhere than it reads: a password in a URL, a
//! second `@`. Whether a URL leads into a private network is asked when it is called, because names move.

/// E.164: at most 15 digits; nobody's number with its country has less than 7.
const NUMBER_DIGITS_MIN: usize = 7;
const NUMBER_DIGITS_MAX: usize = 15;
/// What SMTP carries (RFC 5321, and its erratum 1690).
const EMAIL_LENGTH_MAX: usize = 254;
const EMAIL_LOCAL_LENGTH_MAX: usize = 64;
/// What common servers and proxies take as a request line, with room to spare.
const URL_LENGTH_MAX: usize = 2048;
/// RFC 1035.
const LABEL_LENGTH_MAX: usize = 63;

/// Why a text is no address; the text itself is left out, because it is somebody's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ContactError {
    /// No phone number.
    #[error("is no number of E.164, like +8613800000000")]
    Number,
    /// No e-mail address.
    #[error("is no e-mail address, like pay@example.com")]
    Email,
    /// No URL of a web server.
    #[error(
        "is no http or https URL of at most {URL_LENGTH_MAX} printable ASCII characters, like https://example.com/hook"
    )]
    Url,
    /// A URL with a secret in it.
    #[error("carries a user or a password")]
    UrlWithUser,
}

/// Refuses what is no phone number of E.164: `+`, the country, the number, and nothing between the digits.
pub fn check_number(text: &str) -> Result<(), ContactError> {
    let digits = text.strip_prefix('+').ok_or(ContactError::Number)?;
    let is_number = digits.bytes().all(|byte| byte.is_ascii_digit())
        && !digits.starts_with('0')
        && (NUMBER_DIGITS_MIN..=NUMBER_DIGITS_MAX).contains(&digits.len());
    is_number.then_some(()).ok_or(ContactError::Number)
}

/// Refuses what is no plain e-mail address of ASCII letters; no quoted names and no addresses in numbers.
pub fn check_email(text: &str) -> Result<(), ContactError> {
    let (local, domain) = text.rsplit_once('@').ok_or(ContactError::Email)?;
    let is_local = local.len() <= EMAIL_LOCAL_LENGTH_MAX && local.split('.').all(is_atom);
    let is_email =
        text.len() <= EMAIL_LENGTH_MAX && is_local && domain.contains('.') && is_domain(domain);
    is_email.then_some(()).ok_or(ContactError::Email)
}

/// Refuses what is no URL that a webhook can be sent to. A host is a name or four numbers, nothing in brackets.
pub fn check_url(text: &str) -> Result<(), ContactError> {
    let is_plain = text.len() <= URL_LENGTH_MAX && text.bytes().all(|byte| byte.is_ascii_graphic());
    let rest = text
        .strip_prefix("https://")
        .or_else(|| text.strip_prefix("http://"));
    let (true, Some(rest)) = (is_plain, rest) else {
        return Err(ContactError::Url);
    };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    if authority.contains('@') {
        return Err(ContactError::UrlWithUser);
    }
    let (host, port) = authority.split_at(authority.find(':').unwrap_or(authority.len()));
    let is_port = port.is_empty() || port.strip_prefix(':').is_some_and(is_port);
    let leads_somewhere = is_domain(host) && is_port && !rest.contains('#');
    leads_somewhere.then_some(()).ok_or(ContactError::Url)
}

fn is_atom(part: &str) -> bool {
    let is_atext =
        |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-/=?^_`{|}~".contains(&byte);
    !part.is_empty() && part.bytes().all(is_atext)
}

fn is_domain(name: &str) -> bool {
    name.split('.').all(|label| {
        let is_inner = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
        !label.is_empty()
            && label.len() <= LABEL_LENGTH_MAX
            && label.bytes().all(is_inner)
            && !label.starts_with('-')
            && !label.ends_with('-')
    })
}

fn is_port(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_digit()) && text.parse::<u16>().is_ok_and(|port| port > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_those_of_e164() {
        for number in ["+8613800000000", "+1234567", "+123456789012345"] {
            assert_eq!(check_number(number), Ok(()), "{number}");
        }
        for text in [
            "",
            "+",
            "8613800000000",
            "+013800000000",
            "+86 13800000000",
            "+86-13800000000",
            "+123456",
            "+1234567890123456",
            "+８６13800000000",
            "++8613800000000",
            "tel:+8613800000000",
        ] {
            assert_eq!(check_number(text), Err(ContactError::Number), "{text}");
        }
    }

    #[test]
    fn email_addresses_have_a_name_and_a_domain() {
        for email in [
            "pay@example.com",
            "a.b+c@mail.example.co",
            "o'neil@example.org",
        ] {
            assert_eq!(check_email(email), Ok(()), "{email}");
        }
        let long_local = format!("{}@example.com", "a".repeat(65));
        let long = format!("a@{}com", "abcdefghi.".repeat(26));
        for text in [
            "",
            "pay",
            "@example.com",
            "pay@",
            "pay@example",
            "pay@@example.com",
            "a@b@example.com",
            ".pay@example.com",
            "pay.@example.com",
            "p..y@example.com",
            "pay@example..com",
            "pay@-example.com",
            "pay @example.com",
            "pay@exam ple.com",
            "财务@example.com",
            "Pay <pay@example.com>",
            "pay@example.com\r\nBcc: x@example.com",
            "pay@example.com.",
            &long_local,
            &long,
        ] {
            assert_eq!(check_email(text), Err(ContactError::Email), "{text}");
        }
    }

    #[test]
    fn urls_lead_to_a_web_server() {
        for url in [
            "https://example.com",
            "http://example.com/hook?a=b@c",
            "https://hooks.example.com:8443/pay",
            "http://127.0.0.1:8080/",
            "https://localhost/hook",
        ] {
            assert_eq!(check_url(url), Ok(()), "{url}");
        }
        let long = format!("https://example.com/{}", "a".repeat(2048));
        for text in [
            "",
            "example.com",
            "ftp://example.com",
            "HTTPS//example.com",
            "https://",
            "https:///hook",
            "https://?x",
            "https://exa mple.com",
            "https://example.com/a b",
            "https://例子.com",
            "https://example.com:0/",
            "https://example.com:65536/",
            "https://example.com:/",
            "https://example.com:80a/",
            "https://[::1]/",
            "https://example..com/",
            "https://example.com/#top",
            "https://example.com\\hook",
            "javascript:alert(1)",
            &long,
        ] {
            assert_eq!(check_url(text), Err(ContactError::Url), "{text}");
        }
        for text in [
            "https://user:password@example.com/",
            "https://user@example.com",
            "http://@example.com",
        ] {
            assert_eq!(check_url(text), Err(ContactError::UrlWithUser), "{text}");
        }
    }
}
