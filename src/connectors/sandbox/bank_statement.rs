//! The sandbox bank's day as camt.053.001.08, written by hand.
//!
//! It shares nothing with the reader in `formats/`: a reader that is tested on its own writer is tested on one
//! mistake made twice.

use clearday_jobs::{Money, Reference};

use super::bank_books::{BankDay, BankEntry};

/// What ISO 20022 writes where a payer gave no id.
const NOT_PROVIDED: &str = "NOTPROVIDED";

/// The day as the bank sends it. Nothing in it depends on when it is drawn.
pub(super) fn camt053(day: &BankDay) -> String {
    let (date, currency) = (day.date, day.opening.currency());
    let id = format!("SB{}", date.format("%Y%m%d"));
    let balances = [
        balance("OPBD", day, day.opening),
        balance("CLBD", day, day.closing),
    ]
    .concat();
    let entries: String = day.entries.iter().map(entry_text).collect();
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n\
         <Document xmlns=\"urn:iso:std:iso:20022:tech:xsd:camt.053.001.08\">\n<BkToCstmrStmt>\n\
         <GrpHdr><MsgId>{id}</MsgId><CreDtTm>{date}T23:59:59+08:00</CreDtTm></GrpHdr>\n\
         <Stmt>\n<Id>{id}</Id>\n<CreDtTm>{date}T23:59:59+08:00</CreDtTm>\n\
         <Acct><Id><Othr><Id>{}</Id></Othr></Id><Ccy>{currency}</Ccy></Acct>\n\
         {balances}{entries}</Stmt>\n</BkToCstmrStmt>\n</Document>\n",
        escaped(day.account_no),
    )
}

fn balance(code: &str, day: &BankDay, amount: Money) -> String {
    format!(
        "<Bal><Tp><CdOrPrtry><Cd>{code}</Cd></CdOrPrtry></Tp>{}<Dt><Dt>{}</Dt></Dt></Bal>\n",
        signed(amount),
        day.date
    )
}

fn entry_text(entry: &BankEntry) -> String {
    let date = entry.booked_on;
    let party = if entry.amount.is_negative() {
        "Cdtr"
    } else {
        "Dbtr"
    };
    let id = entry.end_to_end_id.as_ref();
    format!(
        "<Ntry><NtryRef>{reference}</NtryRef>{amount}<Sts><Cd>BOOK</Cd></Sts>\
         <BookgDt><Dt>{date}</Dt></BookgDt><ValDt><Dt>{date}</Dt></ValDt>\
         <AcctSvcrRef>{reference}</AcctSvcrRef><BkTxCd><Prtry><Cd>PMNT</Cd></Prtry></BkTxCd>\
         <NtryDtls><TxDtls><Refs><EndToEndId>{id}</EndToEndId></Refs>\
         <RltdPties><{party}><Pty><Nm>{name}</Nm></Pty></{party}></RltdPties>\
         <RmtInf><Ustrd>{text}</Ustrd></RmtInf></TxDtls></NtryDtls></Ntry>\n",
        reference = escaped(&entry.entry_reference),
        amount = signed(entry.amount),
        id = escaped(id.map_or(NOT_PROVIDED, Reference::as_str)),
        name = escaped(&entry.counterparty),
        text = escaped(&entry.text),
    )
}

/// An amount has no sign in ISO 20022; an indicator beside it says which way it goes.
fn signed(amount: Money) -> String {
    let text = amount.to_major_string();
    let (digits, indicator) = match text.strip_prefix('-') {
        Some(digits) => (digits, "DBIT"),
        None => (text.as_str(), "CRDT"),
    };
    format!(
        "<Amt Ccy=\"{}\">{digits}</Amt><CdtDbtInd>{indicator}</CdtDbtInd>",
        amount.currency()
    )
}

/// Text as XML takes it: markup escaped, and characters it has no room for replaced.
fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for char in text.chars() {
        match char {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\u{fffe}' | '\u{ffff}' => safe.push(' '),
            char if char.is_control() => safe.push(' '),
            char => safe.push(char),
        }
    }
    safe
}
