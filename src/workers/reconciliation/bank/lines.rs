//! Lines of a statement, taken into our books one by one.

use std::collections::BTreeMap;

use clearday_jobs::{ChannelName, Reference};
use serde_json::json;

use super::Sheet;
use crate::connectors::Bank;
use crate::domain::ledger::events::{self, Occasion};
use crate::domain::ledger::{Fact, FactKey, FactKind};
use crate::domain::reconciliation::bank::{
    Answer, Difference, Direction, KnownFact, Question, Step, Traits, contradicted, contradiction,
    decide, is_known, kind_of,
};
use crate::domain::reconciliation::{BreakKind, BreakName};
use crate::engine::{Run, RunTx, WorkError};
use crate::formats::camt053::BankLine;
use crate::store::{bank_lines, ledger, reconciliations};
use crate::workers::Workbench;
use crate::workers::settlement_run::evidence::{self, BankFact, Shown};
use crate::workers::suspense::{self, BankMovement, break_identity};

/// A line on its way into the books.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entry<'a> {
    pub(super) sheet: &'a Sheet,
    pub(super) line: &'a BankLine,
}

/// What became of a line.
#[derive(Clone, Copy, Debug)]
pub(super) struct Finding<'a> {
    pub(super) line: &'a BankLine,
    pub(super) kind: BreakKind,
    /// In what way the bank and we disagree, if we do.
    pub(super) difference: Option<Difference>,
    pub(super) is_suspended: bool,
}

/// Takes some lines into the books.
pub(super) async fn take_lines<'a>(
    bench: &Workbench,
    run: &Run,
    tx: &mut RunTx,
    bank: &Bank,
    entries: &[Entry<'a>],
) -> Result<Vec<Finding<'a>>, WorkError> {
    let numbers: Vec<&str> = entries
        .iter()
        .map(|entry| entry.line.entry_reference.as_str())
        .collect();
    let known = bank_lines::known_facts(tx, bank.name().as_str(), &numbers).await?;
    let mut facts: BTreeMap<&str, Vec<KnownFact>> = BTreeMap::new();
    for (number, fact) in &known {
        facts.entry(number).or_default().push(*fact);
    }
    let mut findings = Vec::with_capacity(entries.len());
    for entry in entries {
        let number = entry.line.entry_reference.as_str();
        let facts = facts.get(number).map(Vec::as_slice).unwrap_or_default();
        findings.push(take_line(bench, run, tx, bank.name(), *entry, facts).await?);
    }
    Ok(findings)
}

async fn take_line<'a>(
    bench: &Workbench,
    run: &Run,
    tx: &mut RunTx,
    bank: &ChannelName,
    Entry { sheet, line }: Entry<'a>,
    facts: &[KnownFact],
) -> Result<Finding<'a>, WorkError> {
    let evidence = told(sheet, line);
    let movement = BankMovement {
        bank,
        number: &line.entry_reference,
        amount: line.amount,
        booked_on: line.booked_on,
        evidence: &evidence,
    };
    let channel = signing_channel(bench, line);
    let traits = Traits {
        direction: Direction::of(line.amount),
        has_end_to_end_id: line.end_to_end_id.is_some(),
        is_signed_by_channel: channel.is_some(),
        is_known: is_known(line.amount, facts),
    };
    let contradicted = contradicted(line.amount, facts);
    let step = match contradicted {
        Some(expected) => contradiction(expected),
        None => ask_on(run, tx, traits, line, &movement, channel).await?,
    };
    let was_suspended = facts
        .iter()
        .any(|fact| matches!(fact.kind, FactKind::BankDebit | FactKind::BankCredit));
    let difference = match step {
        Step::Suspend(difference) => {
            suspense::book(run, tx, &movement).await?;
            Some(difference)
        }
        Step::Report(difference) if contradicted.is_some() => Some(difference),
        Step::Rest | Step::Report(_) | Step::Ask(_) => {
            if was_suspended {
                suspense::take_back(run, tx, bank, &line.entry_reference).await?;
            }
            match step {
                Step::Report(difference) => Some(difference),
                Step::Rest | Step::Ask(_) | Step::Suspend(_) => None,
            }
        }
    };
    Ok(Finding {
        line,
        kind: kind_of(traits),
        difference,
        is_suspended: matches!(step, Step::Suspend(_)),
    })
}

/// Asks until a line is explained, or nobody is left to ask.
async fn ask_on(
    run: &Run,
    tx: &mut RunTx,
    traits: Traits,
    line: &BankLine,
    movement: &BankMovement<'_>,
    channel: Option<&ChannelName>,
) -> Result<Step, WorkError> {
    let mut answers = Vec::new();
    loop {
        match decide(traits, &answers) {
            Step::Ask(question) => {
                answers.push(ask(run, tx, question, line, movement, channel).await?);
            }
            step @ (Step::Rest | Step::Report(_) | Step::Suspend(_)) => return Ok(step),
        }
    }
}

/// Asks our books about a line.
async fn ask(
    run: &Run,
    tx: &mut RunTx,
    question: Question,
    line: &BankLine,
    movement: &BankMovement<'_>,
    channel: Option<&ChannelName>,
) -> Result<Answer, WorkError> {
    let fact = fact(movement)?;
    let shown = match question {
        Question::Deposit => {
            let Some(channel) = channel else {
                return Ok(Answer::NotOurs);
            };
            return deposit(run, tx, movement, channel).await;
        }
        Question::ConfirmPart => match &line.end_to_end_id {
            Some(id) => evidence::confirm_part(run, tx, id, &fact).await?,
            None => Shown::NotOurs,
        },
        Question::ReturnPart => match &line.end_to_end_id {
            Some(id) => evidence::return_part(run, tx, id, &fact).await?,
            None => Shown::NotOurs,
        },
        Question::OfflinePayment => {
            evidence::offline_on_statement(run, tx, &every_reference(line), &fact).await?
        }
    };
    Ok(match shown {
        Shown::Booked | Shown::Known => Answer::Explained,
        Shown::SecondDebit { .. } => Answer::SecondDebit,
        Shown::Differs { expected } => Answer::Differs { expected },
        Shown::NotOurs => Answer::NotOurs,
    })
}

/// The movement as settlements are told of it: above zero, whichever way it went.
fn fact<'a>(movement: &BankMovement<'a>) -> Result<BankFact<'a>, WorkError> {
    let amount = if movement.amount.is_negative() {
        movement.amount.checked_neg()
    } else {
        Ok(movement.amount)
    };
    Ok(BankFact {
        bank: movement.bank,
        number: movement.number,
        amount: amount.map_err(|error| WorkError::Invalid(error.to_string()))?,
        booked_on: movement.booked_on,
        evidence: movement.evidence,
    })
}

/// Everything on the line that may be the number under which somebody registered a payment.
fn every_reference(line: &BankLine) -> Vec<&str> {
    let words = line.text.split_whitespace();
    let carried = line.references.iter().map(String::as_str);
    std::iter::once(line.entry_reference.as_str())
        .chain(line.end_to_end_id.as_ref().map(Reference::as_str))
        .chain(carried)
        .chain(words)
        .collect()
}

/// A channel paid us what it owes, or a part of it.
async fn deposit(
    run: &Run,
    tx: &mut RunTx,
    movement: &BankMovement<'_>,
    channel: &ChannelName,
) -> Result<Answer, WorkError> {
    let subject = format!("deposit:{}:{}", movement.bank, movement.number);
    let occasion = Occasion {
        subject: &subject,
        accounting_on: movement.booked_on,
    };
    let entry = events::deposit(occasion, movement.bank, channel, movement.amount);
    let entry = entry.map_err(|error| WorkError::Invalid(error.to_string()))?;
    let Some(entry) = entry else {
        return Ok(Answer::Explained);
    };
    let appended = suspense::append(run, tx, entry).await?;
    let fact = suspense::fact_of(movement, FactKind::Deposit)?;
    ledger::note_fact(tx, &fact, Some(appended.id()), run.now()).await?;
    // The same money as the channel's own fact: by its day a settlement knows what the channel has handed over.
    let of_channel = Fact {
        key: FactKey {
            account: channel.clone(),
            kind: FactKind::Deposit,
            external_no: format!("{}/{}", movement.bank, movement.number),
        },
        ..fact
    };
    ledger::note_fact(tx, &of_channel, None, run.now()).await?;
    Ok(Answer::Explained)
}

/// The channel that signs its deposits as this line is signed, in its text or as the other side's name.
fn signing_channel<'a>(bench: &'a Workbench, line: &BankLine) -> Option<&'a ChannelName> {
    bench
        .deposit_texts
        .iter()
        .find(|(_, signature)| {
            line.text.contains(signature.as_str()) || line.counterparty.contains(signature.as_str())
        })
        .map(|(channel, _)| channel)
}

/// The line and where it stands; not who is on the other side.
fn told(sheet: &Sheet, line: &BankLine) -> String {
    json!({
        "file_sha256": sheet.file_sha256,
        "statement": sheet.statement.statement_id,
        "entry": line.line,
        "reference": line.entry_reference,
        "amount": line.amount.to_major_string(),
        "currency": line.amount.currency().code(),
        "booked_on": line.booked_on,
        "end_to_end_id": line.end_to_end_id,
        "references": line.references,
        "text": line.text,
    })
    .to_string()
}

/// A line is a second payment as long as its break stands open, whatever was found when it was read: what people decide
/// meanwhile may make it one, or make it the payment.
pub(super) async fn second_payments(
    tx: &mut RunTx,
    bank: &ChannelName,
    findings: &mut [Finding<'_>],
) -> Result<(), WorkError> {
    let name = BreakName::DuplicateTheirs;
    let identity =
        |finding: &Finding<'_>| break_identity(bank, name, &finding.line.entry_reference);
    let identities: Vec<String> = findings.iter().map(identity).collect();
    let open = reconciliations::open_among(tx, &identities).await?;
    for (finding, identity) in findings.iter_mut().zip(&identities) {
        let is_second = finding.difference.is_some_and(|it| it.name == name);
        if is_second && !open.contains(identity) {
            finding.difference = None;
        } else if finding.difference.is_none() && open.contains(identity) {
            finding.difference = Some(Difference {
                name,
                expected: None,
            });
        }
    }
    Ok(())
}
