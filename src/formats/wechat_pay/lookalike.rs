//! Says what a file looks like that is no WeChat Pay merchant bill, so that the message helps.

/// What a beginning is known by; Chinese words in UTF-8 and in GBK.
const KNOWN: &[(&[&[u8]], &str)] = &[
    (
        &["微信支付账单明细".as_bytes()],
        "a personal bill of WeChat",
    ),
    (
        &[
            "支付宝交易号".as_bytes(),
            b"\xd6\xa7\xb8\xb6\xb1\xa6\xbd\xbb\xd2\xd7\xba\xc5",
        ],
        "a merchant statement of Alipay",
    ),
    (
        &[
            "账务流水号".as_bytes(),
            b"\xd5\xcb\xce\xf1\xc1\xf7\xcb\xae\xba\xc5",
        ],
        "a merchant statement of Alipay",
    ),
    (
        &["支付宝".as_bytes(), b"\xd6\xa7\xb8\xb6\xb1\xa6"],
        "a personal bill of Alipay",
    ),
    (
        &["京东".as_bytes(), b"\xbe\xa9\xb6\xab"],
        "a personal bill of JD",
    ),
    (
        &["美团".as_bytes(), b"\xc3\xc0\xcd\xc5"],
        "a personal bill of Meituan",
    ),
    (
        &[
            b"NO_STATEMENT_EXIST",
            b"STATEMENT_CREATING",
            b"No Bill Exist",
            b"return_code",
        ],
        "an answer of the channel that there is no bill",
    ),
    (&[b"iso:20022"], "an ISO 20022 message"),
    (&[b"record_no"], "records of ours"),
];

/// What a file begins with.
const BEGINNINGS: &[(&[u8], &str)] = &[
    (b"PK\x03\x04", "a zip archive or an Excel file"),
    (b"\xd0\xcf\x11\xe0", "an old Excel file"),
    (b"%PDF", "a PDF file"),
    (b"<", "XML or HTML"),
    (b"{", "JSON"),
    (b"[", "JSON"),
];

/// Compares the beginning of a file with what is known.
pub(super) fn looks_like(head: &[u8]) -> &'static str {
    if head.is_empty() {
        return "an empty file";
    }
    let contains = |word: &[u8]| head.windows(word.len()).any(|window| window == word);
    let known = KNOWN
        .iter()
        .find(|(words, _)| words.iter().any(|word| contains(word)));
    let begins = || {
        BEGINNINGS
            .iter()
            .find(|(beginning, _)| head.starts_with(beginning))
    };
    match known {
        Some((_, what)) => what,
        None => begins().map_or("something else", |(_, what)| what),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_known_by_its_words_before_its_beginning() {
        assert_eq!(looks_like(b""), "an empty file");
        assert_eq!(
            looks_like(b"PK\x03\x04..."),
            "a zip archive or an Excel file"
        );
        assert_eq!(
            looks_like(b"{\"code\":\"NO_STATEMENT_EXIST\"}"),
            "an answer of the channel that there is no bill"
        );
        assert_eq!(
            looks_like("京东账号名：".as_bytes()),
            "a personal bill of JD"
        );
        assert_eq!(looks_like(b"a,b,c"), "something else");
    }
}
