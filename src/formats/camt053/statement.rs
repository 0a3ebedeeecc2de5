//! What the elements of one statement say.

use std::collections::BTreeMap;

use chrono::NaiveDate;
use clearday_jobs::{Currency, Money, Reference};

use super::xml::Node;
use super::{BankLine, BankStatement, CamtError};

/// What ISO 20022 writes where there is no reference.
const NOT_PROVIDED: &str = "NOTPROVIDED";
/// The length of `2026-03-02`.
const DATE_LENGTH: usize = 10;

/// Collects a statement out of its pieces, which may come in any order.
#[derive(Debug, Default)]
pub(super) struct StatementReader {
    id: Option<String>,
    account: Option<Account>,
    balances: Vec<Balance>,
    totals: Option<Totals>,
    entries: Vec<Entry>,
    not_booked: usize,
    /// Entries of all statements of the file so far.
    entries_seen: usize,
}

#[derive(Debug)]
struct Account {
    number: String,
    currency: Option<Currency>,
    line: usize,
}

#[derive(Debug)]
struct Balance {
    code: String,
    amount: Money,
    on: NaiveDate,
    line: usize,
}

/// What the bank says its entries sum up to, each where it says so.
#[derive(Debug)]
struct Totals {
    line: usize,
    credits: Total,
    debits: Total,
}

#[derive(Debug, Default)]
struct Total {
    count: Option<String>,
    sum: Option<String>,
}

#[derive(Debug)]
struct Entry {
    number: usize,
    line: usize,
    amount: Money,
    booked_on: NaiveDate,
    is_reversal: bool,
    servicer_reference: Option<String>,
    own_reference: Option<String>,
    parts: Vec<Part>,
}

/// A movement within an entry: the entry itself, or one payment of a batch.
#[derive(Debug)]
struct Part {
    amount: Money,
    end_to_end_id: Option<Reference>,
    counterparty: String,
    text: String,
    references: Vec<String>,
}

impl StatementReader {
    /// Takes what stands directly in the statement.
    pub(super) fn take(&mut self, node: &Node) -> Result<(), CamtError> {
        match node.name.as_str() {
            "Id" => self.id = Some(node.text().to_owned()),
            "Acct" => self.account = Some(account(node)?),
            "Bal" => self.balances.extend(balance(node)?),
            "TxsSummry" => self.totals = Some(totals(node)),
            "Ntry" => {
                self.entries_seen = self.entries_seen.saturating_add(1);
                match entry(node, self.entries_seen)? {
                    Some(entry) => self.entries.push(entry),
                    None => self.not_booked = self.not_booked.saturating_add(1),
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// The statement, if it is whole; the next one may begin.
    pub(super) fn finish(&mut self, line: usize) -> Result<BankStatement, CamtError> {
        let next = Self {
            entries_seen: self.entries_seen,
            ..Self::default()
        };
        std::mem::replace(self, next).into_statement(line)
    }

    fn into_statement(self, line: usize) -> Result<BankStatement, CamtError> {
        let lacks = |what: &str| content(line, format!("the statement has no {what}"));
        let statement_id = self.id.filter(|id| !id.is_empty());
        let statement_id = statement_id.ok_or_else(|| lacks("id"))?;
        let account = self.account.ok_or_else(|| lacks("account"))?;
        let opening = match (
            named(&self.balances, "OPBD")?,
            named(&self.balances, "PRCD")?,
        ) {
            (Some(opening), Some(previous)) if opening.amount != previous.amount => {
                let problem = format!(
                    "it opens with {}, but the one before closed with {}",
                    opening.amount, previous.amount
                );
                return Err(content(opening.line, problem));
            }
            (Some(opening), _) | (None, Some(opening)) => opening,
            (None, None) => return Err(lacks("opening balance (OPBD or PRCD)")),
        };
        let closing = named(&self.balances, "CLBD")?;
        let closing = closing.ok_or_else(|| lacks("closing balance (CLBD)"))?;
        let currency = opening.amount.currency();
        if let Some(other) = account.currency.filter(|other| *other != currency) {
            let problem = format!("the account is in {other}, but its balance in {currency}");
            return Err(content(account.line, problem));
        }
        same_currency(closing.line, closing.amount, currency)?;
        for entry in &self.entries {
            same_currency(entry.line, entry.amount, currency)?;
        }
        if let Some(totals) = self.totals.filter(|_| self.not_booked == 0) {
            totals.check(&self.entries, currency)?;
        }
        let mut sum = opening.amount;
        for entry in &self.entries {
            sum = sum
                .checked_add(entry.amount)
                .map_err(|error| entry_content(entry, error.to_string()))?;
        }
        if sum != closing.amount {
            return Err(CamtError::Unbalanced {
                statement_id,
                opening: opening.amount,
                lines: self.entries.len(),
                sum,
                closing: closing.amount,
            });
        }
        Ok(BankStatement {
            account_no: account.number,
            currency,
            opening: opening.amount,
            closing: closing.amount,
            closing_on: closing.on,
            lines: lines(&statement_id, self.entries),
            not_booked: self.not_booked,
            statement_id,
        })
    }
}

fn account(node: &Node) -> Result<Account, CamtError> {
    let number = node
        .text_at(&["Id", "IBAN"])
        .or_else(|| node.text_at(&["Id", "Othr", "Id"]))
        .or_else(|| node.text_at(&["Id", "BBAN"]));
    let Some(number) = number else {
        return Err(content(node.line, "the account has no number"));
    };
    let currency = node
        .text_at(&["Ccy"])
        .map(Currency::parse)
        .transpose()
        .map_err(|error| content(node.line, error.to_string()))?;
    Ok(Account {
        number: number.to_owned(),
        currency,
        line: node.line,
    })
}

/// A balance with a code of ISO 20022; others are the bank's own affair.
fn balance(node: &Node) -> Result<Option<Balance>, CamtError> {
    let Some(code) = node.text_at(&["Tp", "CdOrPrtry", "Cd"]) else {
        return Ok(None);
    };
    // What is available, expected or in between is no part of the proof, and may be written in any way.
    if !matches!(code, "OPBD" | "PRCD" | "CLBD") {
        return Ok(None);
    }
    Ok(Some(Balance {
        code: code.to_owned(),
        amount: signed_amount(node)?,
        on: date_of(node, "Dt")?,
        line: node.line,
    }))
}

/// The balance of that code; two different ones are none.
fn named<'a>(balances: &'a [Balance], code: &str) -> Result<Option<&'a Balance>, CamtError> {
    let mut of_code = balances.iter().filter(|balance| balance.code == code);
    let Some(first) = of_code.next() else {
        return Ok(None);
    };
    match of_code.find(|other| other.amount != first.amount || other.on != first.on) {
        None => Ok(Some(first)),
        Some(other) => {
            let problem = format!(
                "a second {code} says {}, not {}",
                other.amount, first.amount
            );
            Err(content(other.line, problem))
        }
    }
}

fn totals(node: &Node) -> Totals {
    let total = |name: &str| Total {
        count: node.text_at(&[name, "NbOfNtries"]).map(str::to_owned),
        sum: node.text_at(&[name, "Sum"]).map(str::to_owned),
    };
    Totals {
        line: node.line,
        credits: total("TtlCdtNtries"),
        debits: total("TtlDbtNtries"),
    }
}

impl Totals {
    fn check(&self, entries: &[Entry], currency: Currency) -> Result<(), CamtError> {
        let (debits, credits): (Vec<&Entry>, Vec<&Entry>) =
            entries.iter().partition(|entry| entry.amount.is_negative());
        for (total, entries, what) in [
            (&self.credits, credits, "credits"),
            (&self.debits, debits, "debits"),
        ] {
            let count = entries.len();
            if let Some(told) = &total.count
                && told.parse() != Ok(count)
            {
                let problem = format!("there are {count} {what}, but the summary says {told}");
                return Err(content(self.line, problem));
            }
            let Some(told) = &total.sum else { continue };
            let told = Money::parse_major(told, currency);
            let told = told.map_err(|error| content(self.line, error.to_string()))?;
            let sum = entries
                .iter()
                .try_fold(Money::from_minor(0, currency), |sum, entry| {
                    sum.checked_add(absolute(entry.amount)?)
                })
                .map_err(|error| content(self.line, error.to_string()))?;
            if told != sum {
                let problem = format!("the {what} make {sum}, but the summary says {told}");
                return Err(content(self.line, problem));
            }
        }
        Ok(())
    }
}

/// An entry, or nothing when it is only announced.
fn entry(node: &Node, number: usize) -> Result<Option<Entry>, CamtError> {
    let wrong = |problem: String| content(node.line, format!("entry {number}: {problem}"));
    let status = node
        .text_at(&["Sts", "Cd"])
        .or_else(|| node.text_at(&["Sts"]));
    match status {
        Some("BOOK") => {}
        Some("PDNG" | "INFO" | "FUTR") => return Ok(None),
        Some(other) => return Err(wrong(format!("nobody knows the status {other:?}"))),
        None => return Err(wrong("it has no status".to_owned())),
    }
    let is_reversal = match node.text_at(&["RvslInd"]) {
        None | Some("false" | "0") => false,
        Some("true" | "1") => true,
        Some(other) => return Err(wrong(format!("a reversal is true or false, not {other:?}"))),
    };
    let amount = signed_amount(node).map_err(|error| of_entry(number, error))?;
    let day = if node.child("BookgDt").is_some() {
        "BookgDt"
    } else {
        "ValDt"
    };
    let text = |name: &str| node.text_at(&[name]).map(str::to_owned);
    Ok(Some(Entry {
        number,
        line: node.line,
        amount,
        booked_on: date_of(node, day).map_err(|error| of_entry(number, error))?,
        is_reversal,
        servicer_reference: text("AcctSvcrRef"),
        own_reference: text("NtryRef"),
        parts: parts(node, amount).map_err(|error| of_entry(number, error))?,
    }))
}

/// The payments of an entry where each has its amount; else the entry as one.
fn parts(node: &Node, amount: Money) -> Result<Vec<Part>, CamtError> {
    let details: Vec<&Node> = node
        .all("NtryDtls")
        .flat_map(|details| details.all("TxDtls"))
        .collect();
    let note = node.text_at(&["AddtlNtryInf"]).unwrap_or_default();
    let Some((only, [])) = details.split_first() else {
        return batch(node, &details, amount, note);
    };
    let is_debit = amount.is_negative();
    Ok(vec![part(only, amount, is_debit, note)])
}

fn batch(
    node: &Node,
    details: &[&Node],
    amount: Money,
    note: &str,
) -> Result<Vec<Part>, CamtError> {
    let is_debit = amount.is_negative();
    let mut parts = Vec::with_capacity(details.len());
    for detail in details {
        // Without its own amount a payment cannot be told from the rest of its batch.
        let Some(its_amount) = part_amount(detail, amount)? else {
            return Ok(vec![whole_batch(details, amount, note)]);
        };
        parts.push(part(detail, its_amount, is_debit, note));
    }
    let zero = Money::from_minor(0, amount.currency());
    let sum = parts
        .iter()
        .try_fold(zero, |sum, part| sum.checked_add(part.amount));
    let sum = sum.map_err(|error| content(node.line, error.to_string()))?;
    if !parts.is_empty() && sum == amount {
        return Ok(parts);
    }
    // Charges may be taken off a batch; then its payments do not make it up, and need not.
    if parts.is_empty() || node.child("Chrgs").is_some() {
        return Ok(vec![whole_batch(details, amount, note)]);
    }
    let problem = format!(
        "its {} payments make {sum}, and it is {amount}",
        parts.len()
    );
    Err(content(node.line, problem))
}

/// What is known of a batch as one: everything but an id.
fn whole_batch(details: &[&Node], amount: Money, note: &str) -> Part {
    let told: Vec<Part> = details
        .iter()
        .map(|detail| part(detail, amount, amount.is_negative(), ""))
        .collect();
    let texts = told.iter().map(|part| part.text.as_str());
    Part {
        amount,
        end_to_end_id: None,
        counterparty: String::new(),
        text: joined(texts.chain([note])),
        references: told.into_iter().flat_map(|part| part.references).collect(),
    }
}

/// The signed amount of a payment in the entry's currency, if it has one.
fn part_amount(detail: &Node, entry: Money) -> Result<Option<Money>, CamtError> {
    let amount = detail
        .child("Amt")
        .or_else(|| detail.at(&["AmtDtls", "TxAmt", "Amt"]));
    let Some(amount) = amount.filter(|it| it.currency.as_deref() == Some(entry.currency().code()))
    else {
        return Ok(None);
    };
    let is_debit = match detail.text_at(&["CdtDbtInd"]) {
        Some("DBIT") => true,
        Some("CRDT") => false,
        Some(_) | None => entry.is_negative(),
    };
    unsigned(amount, entry.currency())
        .and_then(|amount| with_sign(amount, is_debit, detail))
        .map(Some)
}

fn part(detail: &Node, amount: Money, is_debit: bool, note: &str) -> Part {
    let end_to_end_id = detail
        .text_at(&["Refs", "EndToEndId"])
        .filter(|id| *id != NOT_PROVIDED)
        .and_then(|id| Reference::new(id).ok());
    let sides = if is_debit {
        ["Cdtr", "Dbtr"]
    } else {
        ["Dbtr", "Cdtr"]
    };
    let counterparty = sides.iter().find_map(|side| {
        let party = detail.at(&["RltdPties", side])?;
        party
            .text_at(&["Pty", "Nm"])
            .or_else(|| party.text_at(&["Nm"]))
    });
    let mut texts = Vec::new();
    let mut references = Vec::new();
    if let Some(refs) = detail.child("Refs") {
        references.extend(refs.leaf_texts());
    }
    for remittance in detail.all("RmtInf") {
        texts.extend(remittance.all("Ustrd").map(Node::text));
        let structured = remittance.all("Strd");
        references.extend(structured.filter_map(|it| it.text_at(&["CdtrRefInf", "Ref"])));
    }
    texts.extend(detail.text_at(&["AddtlTxInf"]));
    texts.push(note);
    Part {
        amount,
        end_to_end_id,
        counterparty: counterparty.unwrap_or_default().to_owned(),
        text: joined(texts),
        references: references
            .into_iter()
            .filter(|reference| !reference.is_empty() && *reference != NOT_PROVIDED)
            .map(str::to_owned)
            .collect(),
    }
}

fn joined<'a>(texts: impl IntoIterator<Item = &'a str>) -> String {
    let texts: Vec<&str> = texts.into_iter().filter(|text| !text.is_empty()).collect();
    texts.join(" ")
}

/// Gives every movement its number. A reference that a bank uses twice, as for a payment and its reversal, is not the
/// same movement: the balances prove that both happened.
fn lines(statement_id: &str, entries: Vec<Entry>) -> Vec<BankLine> {
    let mut uses: BTreeMap<String, usize> = BTreeMap::new();
    let mut lines = Vec::with_capacity(entries.len());
    for entry in entries {
        let own = entry.own_reference.as_deref();
        let reference = match entry.servicer_reference {
            Some(reference) => reference,
            // Many banks count the entries of each statement from 1.
            None => match own {
                Some(own) => format!("{statement_id}/{own}"),
                None => format!("{statement_id}/entry {}", entry.number),
            },
        };
        let count = uses.entry(reference.clone()).or_default();
        *count = count.saturating_add(1);
        let reference = match *count {
            1 => reference,
            again => format!("{reference}#{again}"),
        };
        let is_batch = entry.parts.len() > 1;
        for (index, part) in entry.parts.into_iter().enumerate() {
            let entry_reference = if is_batch {
                format!("{reference}/{}", index.saturating_add(1))
            } else {
                reference.clone()
            };
            lines.push(BankLine {
                line: entry.number,
                entry_reference,
                amount: part.amount,
                booked_on: entry.booked_on,
                end_to_end_id: part.end_to_end_id,
                is_reversal: entry.is_reversal,
                counterparty: part.counterparty,
                text: part.text,
                references: own
                    .map(str::to_owned)
                    .into_iter()
                    .chain(part.references)
                    .collect(),
            });
        }
    }
    lines
}

/// The amount of an entry or a balance; an indicator beside it says which way it goes.
fn signed_amount(node: &Node) -> Result<Money, CamtError> {
    let Some(amount) = node.child("Amt") else {
        return Err(content(node.line, "there is no amount"));
    };
    let Some(currency) = &amount.currency else {
        return Err(content(amount.line, "the amount has no currency"));
    };
    let currency =
        Currency::parse(currency).map_err(|error| content(amount.line, error.to_string()))?;
    let is_debit = match node.text_at(&["CdtDbtInd"]) {
        Some("DBIT") => true,
        Some("CRDT") => false,
        Some(other) => {
            return Err(content(
                node.line,
                format!("an amount is CRDT or DBIT, not {other:?}"),
            ));
        }
        None => return Err(content(node.line, "nothing says CRDT or DBIT")),
    };
    with_sign(unsigned(amount, currency)?, is_debit, node)
}

fn unsigned(amount: &Node, currency: Currency) -> Result<Money, CamtError> {
    let read = Money::parse_major(amount.text(), currency);
    let read = read.map_err(|error| content(amount.line, error.to_string()))?;
    if read.is_negative() {
        return Err(content(amount.line, "an amount has no sign of its own"));
    }
    Ok(read)
}

fn with_sign(amount: Money, is_debit: bool, node: &Node) -> Result<Money, CamtError> {
    if !is_debit {
        return Ok(amount);
    }
    amount
        .checked_neg()
        .map_err(|error| content(node.line, error.to_string()))
}

fn absolute(amount: Money) -> Result<Money, clearday_jobs::MoneyError> {
    if amount.is_negative() {
        amount.checked_neg()
    } else {
        Ok(amount)
    }
}

/// The day in `<name><Dt>` or `<name><DtTm>`, by the bank's own clock.
fn date_of(node: &Node, name: &str) -> Result<NaiveDate, CamtError> {
    let text = node
        .text_at(&[name, "Dt"])
        .or_else(|| node.text_at(&[name, "DtTm"]));
    let Some(text) = text else {
        return Err(content(node.line, "there is no day"));
    };
    let not_a_day = || content(node.line, format!("{text:?} is not a day"));
    let (day, rest) = text.split_at_checked(DATE_LENGTH).ok_or_else(not_a_day)?;
    // Behind it comes a time, or the zone that XML allows a date to have.
    if !rest.is_empty() && !rest.starts_with(['T', 'Z', '+', '-']) {
        return Err(not_a_day());
    }
    NaiveDate::parse_from_str(day, "%Y-%m-%d").map_err(|_| not_a_day())
}

fn same_currency(line: usize, amount: Money, currency: Currency) -> Result<(), CamtError> {
    let other = amount.currency();
    if other == currency {
        return Ok(());
    }
    let problem = format!("the statement opens in {currency}, and here is {other}");
    Err(content(line, problem))
}

fn content(line: usize, problem: impl Into<String>) -> CamtError {
    CamtError::Content {
        line,
        problem: problem.into(),
    }
}

fn entry_content(entry: &Entry, problem: impl Into<String>) -> CamtError {
    of_entry(entry.number, content(entry.line, problem))
}

/// The same problem, with the entry it is in.
fn of_entry(number: usize, error: CamtError) -> CamtError {
    match error {
        CamtError::Content { line, problem } => content(line, format!("entry {number}: {problem}")),
        CamtError::TooLarge
        | CamtError::NotUtf8 { .. }
        | CamtError::Syntax { .. }
        | CamtError::Forbidden { .. }
        | CamtError::NotCamt(_)
        | CamtError::Unbalanced { .. } => error,
    }
}
