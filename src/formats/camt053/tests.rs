//! The reader over statements of our own making; real ones are read in `tests/it/bank_statement.rs`.

use proptest::prelude::*;

use super::*;

/// A day with a payout, its reversal under the same number, a batch with amounts, one without, and an announcement.
fn day() -> String {
    statement(&[
        ntry("10.00", "DBIT", &tx("", "E2E-1", "rent")),
        ntry("10.00", "CRDT", &tx("", "E2E-1", "sent back")),
        ntry(
            "30.00",
            "DBIT",
            &format!("{}{}", tx("12.00", "A", "one"), tx("18.00", "B", "two")),
        ),
        ntry(
            "7.00",
            "CRDT",
            &format!("{}{}", tx("", "C", "three"), tx("", "D", "four")),
        ),
        ntry("99.00", "DBIT", "").replace("BOOK", "PDNG"),
    ])
}

fn statement(entries: &[String]) -> String {
    document("100.00", "77.00", &entries.concat())
}

fn document(opening: &str, closing: &str, entries: &str) -> String {
    let balance = |code: &str, amount: &str| {
        format!(
            "<Bal><Tp><CdOrPrtry><Cd>{code}</Cd></CdOrPrtry></Tp><Amt Ccy=\"CNY\">{amount}</Amt>\
             <CdtDbtInd>CRDT</CdtDbtInd><Dt><Dt>2026-03-02</Dt></Dt></Bal>\n"
        )
    };
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n\
         <Document xmlns=\"urn:iso:std:iso:20022:tech:xsd:camt.053.001.02\"><BkToCstmrStmt>\n\
         <GrpHdr><MsgId>M</MsgId></GrpHdr>\n<Stmt>\n<Id>S1</Id>\n\
         <Acct><Id><Othr><Id>6222</Id></Othr></Id><Ccy>CNY</Ccy></Acct>\n{}{}{entries}\
         </Stmt>\n</BkToCstmrStmt></Document>",
        balance("OPBD", opening),
        balance("CLBD", closing),
    )
}

fn ntry(amount: &str, indicator: &str, details: &str) -> String {
    format!(
        "<Ntry><Amt Ccy=\"CNY\">{amount}</Amt><CdtDbtInd>{indicator}</CdtDbtInd><Sts>BOOK</Sts>\
         <BookgDt><Dt>2026-03-02</Dt></BookgDt><AcctSvcrRef>X1</AcctSvcrRef>\
         <NtryDtls>{details}</NtryDtls></Ntry>\n"
    )
}

fn tx(amount: &str, id: &str, text: &str) -> String {
    let amount = if amount.is_empty() {
        String::new()
    } else {
        format!("<AmtDtls><TxAmt><Amt Ccy=\"CNY\">{amount}</Amt></TxAmt></AmtDtls>")
    };
    format!(
        "<TxDtls><Refs><EndToEndId>{id}</EndToEndId></Refs>{amount}\
         <RmtInf><Ustrd>{text}</Ustrd></RmtInf></TxDtls>"
    )
}

fn only(text: &str) -> BankStatement {
    let mut statements = read(text.as_bytes()).unwrap();
    assert_eq!(statements.len(), 1);
    statements.remove(0)
}

fn refusal(text: &str) -> String {
    read(text.as_bytes()).unwrap_err().to_string()
}

/// Entry, number, amount, end-to-end id, text.
const LINES: &str = "\
1 X1 -10.00 E2E-1: rent
2 X1#2 10.00 E2E-1: sent back
3 X1#3/1 -12.00 A: one
3 X1#3/2 -18.00 B: two
4 X1#4 7.00 -: three four
";

#[test]
fn every_movement_is_a_line_of_its_own() {
    let statement = only(&day());
    let told: Vec<String> = statement
        .lines
        .iter()
        .map(|line| {
            let id = line.end_to_end_id.as_ref().map_or("-", Reference::as_str);
            let amount = line.amount.to_major_string();
            let (number, reference, text) = (line.line, &line.entry_reference, &line.text);
            format!("{number} {reference} {amount} {id}: {text}\n")
        })
        .collect();
    assert_eq!(told.concat(), LINES);
    assert_eq!(statement.not_booked, 1);
    assert_eq!(statement.account_no, "6222");
    assert_eq!(statement.statement_id, "S1");
    assert_eq!(statement.closing.to_string(), "77.00 CNY");
}

#[test]
fn a_file_cut_anywhere_is_neither_read_nor_a_panic() {
    let text = day();
    for end in 0..text.len() {
        if let Some(cut) = text.as_bytes().get(..end) {
            assert!(read(cut).is_err(), "cut at {end}");
        }
    }
    assert!(read(text.as_bytes()).is_ok());
}

#[test]
fn how_a_bank_writes_makes_no_difference() {
    let plain = only(&day());
    let prefixed = day()
        .replace("xmlns=", "xmlns:n=")
        .replace("</", "</n:")
        .replace('<', "<n:")
        .replace("<n:/n:", "</n:")
        .replace("<n:?", "<?");
    let newer = day()
        .replace("camt.053.001.02", "camt.053.001.08")
        .replace("<Sts>BOOK</Sts>", "<Sts><Cd>BOOK</Cd></Sts>")
        .replace("<Sts>PDNG</Sts>", "<Sts><Cd>PDNG</Cd></Sts>");
    let at_a_time = day().replace(
        "<BookgDt><Dt>2026-03-02</Dt></BookgDt>",
        "<BookgDt><DtTm>2026-03-02T23:59:00+08:00</DtTm></BookgDt>",
    );
    let marked = format!("\u{feff}{}\n<!-- the end -->\n", day());
    let spaced = day().replace('>', ">\r\n  ").replace("<?xml", "<?xml ");
    for (what, text) in [
        ("prefixed", prefixed),
        ("newer", newer),
        ("at a time", at_a_time),
        ("marked", marked),
        ("previous balance", day().replace("OPBD", "PRCD")),
        ("quoted text", day().replace("rent", "<![CDATA[rent]]>")),
        ("numbered letter", day().replace("rent", "&#114;ent")),
        ("spaced", spaced),
        ("more zeros", day().replace("30.00", "30.00000")),
        ("value day", day().replace("BookgDt", "ValDt")),
    ] {
        assert_eq!(only(&text), plain, "{what}");
    }
}

#[test]
fn a_field_that_matters_is_read_exactly_or_refused() {
    for (from, to, words) in [
        (
            ">77.00<",
            ">77.01<",
            "statement S1: the opening balance 100.00 CNY and 4 lines make 77.00 CNY, but the closing balance is 77.01 CNY",
        ),
        (
            "\">10.00<",
            "\">10.001<",
            "line 9: entry 1: \"10.001\" is finer than the minor unit of CNY (2 decimal places)",
        ),
        (
            "\">10.00<",
            "\">-10.00<",
            "line 9: entry 1: an amount has no sign of its own",
        ),
        (
            "\">10.00<",
            "\">1e1<",
            "line 9: entry 1: \"1e1\" is not an amount; write it in digits, like \"12.34\"",
        ),
        (
            "CNY\">10.00<",
            "USD\">10.00<",
            "line 9: the statement opens in CNY, and here is USD",
        ),
        (
            " Ccy=\"CNY\">10.00<",
            ">10.00<",
            "line 9: entry 1: the amount has no currency",
        ),
        (
            "<Ccy>CNY</Ccy>",
            "<Ccy>USD</Ccy>",
            "line 6: the account is in USD, but its balance in CNY",
        ),
        (
            "<CdtDbtInd>DBIT</CdtDbtInd>",
            "",
            "line 9: entry 1: nothing says CRDT or DBIT",
        ),
        (
            "DBIT",
            "debit",
            "line 9: entry 1: an amount is CRDT or DBIT, not \"debit\"",
        ),
        (
            "BOOK",
            "DONE",
            "line 9: entry 1: nobody knows the status \"DONE\"",
        ),
        (
            "<BookgDt><Dt>2026-03-02</Dt></BookgDt>",
            "",
            "line 9: entry 1: there is no day",
        ),
        (
            "<BookgDt><Dt>2026-03-02",
            "<BookgDt><Dt>2026-02-30",
            "line 9: entry 1: \"2026-02-30\" is not a day",
        ),
        (
            "<BookgDt><Dt>2026-03-02",
            "<BookgDt><Dt>2026-03-020",
            "line 9: entry 1: \"2026-03-020\" is not a day",
        ),
        (
            "18.00",
            "18.01",
            "line 11: entry 3: its 2 payments make -30.01 CNY, and it is -30.00 CNY",
        ),
        ("<Id>S1</Id>", "", "line 14: the statement has no id"),
        (
            "OPBD",
            "ITBD",
            "line 14: the statement has no opening balance (OPBD or PRCD)",
        ),
        (
            "CLBD",
            "CLAV",
            "line 14: the statement has no closing balance (CLBD)",
        ),
        (
            "CLBD",
            "OPBD",
            "line 8: a second OPBD says 77.00 CNY, not 100.00 CNY",
        ),
        (
            "CLBD",
            "PRCD",
            "line 7: it opens with 100.00 CNY, but the one before closed with 77.00 CNY",
        ),
        ("6222", "", "line 6: the account has no number"),
        (
            "053.001.02",
            "053.001.09",
            "not a camt.053 statement of version 02 to 08: its namespace is \"urn:iso:std:iso:20022:tech:xsd:camt.053.001.09\"",
        ),
        (
            "053.001.02",
            "052.001.02",
            "not a camt.053 statement of version 02 to 08: its namespace is \"urn:iso:std:iso:20022:tech:xsd:camt.052.001.02\"",
        ),
        (
            "UTF-8",
            "GB18030",
            "line 1: not XML: it says that it is GB18030, and UTF-8 is read",
        ),
        (
            "rent",
            "re\u{1}nt",
            "line 9: not XML: there is a control character in it",
        ),
        ("rent", "&rent;", "line 9: an entity is refused"),
        (
            "<Stmt>",
            "<?go now?><Stmt>",
            "line 4: a processing instruction is refused",
        ),
        (
            "<Document",
            "<!DOCTYPE a [<!ENTITY b \"c\">]><Document",
            "line 2: a document type is refused",
        ),
        (
            "</Document>",
            "</Document><Document/>",
            "line 15: not XML: there is a second document in it",
        ),
        (
            "</Document>",
            "</Document>!",
            "line 15: not XML: there is text between elements",
        ),
    ] {
        assert_eq!(refusal(&day().replacen(from, to, 1)), words, "{from} {to}");
    }
    assert_eq!(
        refusal(
            "<Document xmlns=\"urn:iso:std:iso:20022:tech:xsd:camt.053.001.02\"><BkToCstmrStmt></BkToCstmrStmt></Document>"
        ),
        "not a camt.053 statement of version 02 to 08: there is no statement in it"
    );
    assert_eq!(
        read(b"<a>\n\xff</a>").unwrap_err().to_string(),
        "line 2: not UTF-8"
    );
}

#[test]
fn the_banks_own_summary_must_agree_where_it_gives_one() {
    let entries = [
        ntry("10.00", "DBIT", ""),
        ntry("10.00", "CRDT", ""),
        ntry("23.00", "DBIT", ""),
    ];
    let with = |credits: &str, debits: &str| {
        let summary = format!(
            "<TxsSummry><TtlCdtNtries>{credits}</TtlCdtNtries><TtlDbtNtries>{debits}</TtlDbtNtries></TxsSummry>"
        );
        read(
            statement(&entries)
                .replace("<Ntry>", &format!("{summary}<Ntry>"))
                .as_bytes(),
        )
        .map(drop)
        .map_err(|error| error.to_string())
    };
    let (credits, debits) = (
        "<NbOfNtries>1</NbOfNtries><Sum>10</Sum>",
        "<NbOfNtries>2</NbOfNtries><Sum>33.0</Sum>",
    );
    assert_eq!(with(credits, debits), Ok(()));
    assert_eq!(
        with("<NbOfNtries>2</NbOfNtries>", debits).unwrap_err(),
        "line 11: there are 1 credits, but the summary says 2"
    );
    assert_eq!(
        with(credits, "<Sum>33.01</Sum>").unwrap_err(),
        "line 11: the debits make 33.00 CNY, but the summary says 33.01 CNY"
    );
}

#[test]
fn charges_may_be_taken_off_a_batch_and_an_id_that_is_none_is_left_out() {
    let details = format!("{}{}", tx("12.00", "A", "one"), tx("12.00", "B", "two"));
    let entry = ntry("23.00", "DBIT", &details).replace("<NtryDtls>", "<Chrgs/><NtryDtls>");
    let line = &only(&statement(&[entry])).lines[0];
    assert_eq!(
        (line.end_to_end_id.as_ref(), line.text.as_str()),
        (None, "one two")
    );
    assert_eq!(line.references, ["A", "B"]);
    for id in ["NOTPROVIDED", "", "two words", "业务"] {
        let entry = ntry("23.00", "DBIT", &tx("", id, ""));
        let statement = only(&statement(&[entry]));
        assert_eq!(statement.lines[0].end_to_end_id, None, "{id}");
    }
}

#[test]
fn a_line_without_the_banks_reference_is_numbered_within_its_statement() {
    let entry = |reference: &str| {
        ntry("11.50", "DBIT", "").replace("<AcctSvcrRef>X1</AcctSvcrRef>", reference)
    };
    let statement = only(&statement(&[entry("<NtryRef>7</NtryRef>"), entry("")]));
    let references = statement
        .lines
        .iter()
        .map(|line| line.entry_reference.as_str());
    assert_eq!(references.collect::<Vec<_>>(), ["S1/7", "S1/entry 2"]);
}

#[test]
fn a_file_that_would_not_fit_or_is_too_deep_is_refused() {
    let large = vec![b' '; FILE_BYTES_MAX + 1];
    assert_eq!(read(&large), Err(CamtError::TooLarge));
    let deep = "<a>".repeat(10_000);
    let text = day().replacen("<Ntry>", &format!("<Ntry>{deep}"), 1);
    assert_eq!(
        refusal(&text),
        "line 9: an element this deep or this large is refused"
    );
}

proptest! {
    #[test]
    fn no_text_makes_the_reader_panic(text in "[<>/!?a-zA-Z &;#\"=\\[\\]-]{0,200}") {
        drop(read(text.as_bytes()));
        let within = document("1.00", "1.00", &text);
        drop(read(within.as_bytes()));
    }

    #[test]
    fn what_the_lines_sum_up_to_is_what_it_closes_with(
        minors in prop::collection::vec(-1_000_000_i64..1_000_000, 0..20),
        off in prop::sample::select(vec![0_i64, 0, 1, -1]),
    ) {
        let cny = |minor| Money::from_minor(minor, Currency::CNY);
        let entries: Vec<String> = minors
            .iter()
            .map(|minor| {
                let indicator = if *minor < 0 { "DBIT" } else { "CRDT" };
                ntry(&cny(minor.abs()).to_major_string(), indicator, "")
            })
            .collect();
        // Enough to stay above zero: these balances are written as credits.
        let (opening, sum) = (100_000_000, minors.iter().sum::<i64>());
        let closing = cny(opening + sum + off).to_major_string();
        let text = document(&cny(opening).to_major_string(), &closing, &entries.concat());
        match read(text.as_bytes()) {
            Ok(statements) => {
                prop_assert_eq!(off, 0);
                let amounts = statements[0].lines.iter().map(|line| line.amount.minor_units());
                prop_assert_eq!(amounts.collect::<Vec<_>>(), minors);
            }
            Err(error) => {
                let is_unbalanced = matches!(error, CamtError::Unbalanced { .. });
                prop_assert!(off != 0 && is_unbalanced, "{}", error);
            }
        }
    }
}
