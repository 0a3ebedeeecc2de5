//! Which line and which record tell of the same fact.
//!
//! 1. The same fact in two statements (ALL and SUCCESS of one day) is one fact: of lines equal in kind, numbers,
//!    amount and fee, only the statement that tells it most often is heard. The same line twice in *one* statement
//!    stays two lines.
//! 2. Lines and records meet under our own number and kind. N records against M lines make min(N, M) pairs, the
//!    likest first; the rest are duplicates.
//! 3. What found nobody there meets under the channel's number: the same external fact, booked under another number
//!    of ours. A record that claims a channel number whose line already has its record is a duplicate of ours. A
//!    line of another order number is never a duplicate of theirs: the channel tells both numbers itself, so the
//!    other order is one that we miss.
//! 4. A reversal (撤销) that is no refund in our books is folded into its payment, if that holds no money with us
//!    either.
//!
//! The order of rows decides nothing: wherever a choice is left, it is made by content.

mod meeting;
mod reversals;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher};

use self::meeting::Meeting;
use super::entry::{Entries, Entry};
use crate::domain::record::{RecordKind, RecordStatus};

/// Lines and a record that tell of the same fact, by position.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pair {
    /// One line and one record.
    Direct {
        /// The line.
        line: usize,
        /// The record.
        record: usize,
    },
    /// A payment that was taken back, and a record without money.
    Reversed {
        /// The line of the payment.
        line: usize,
        /// The line that takes it back.
        reversal: usize,
        /// The record.
        record: usize,
    },
    /// The same, with the payment on a statement that was not given.
    ReversedElsewhere {
        /// The line that takes it back.
        reversal: usize,
        /// The record.
        record: usize,
    },
}

/// An entry without a counterpart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Leftover {
    /// Its position on its side.
    pub position: usize,
    /// Whether the fact it tells has its counterpart, or its place among the leftovers, already.
    pub is_extra: bool,
}

/// Every line and record in exactly one of these lists.
#[derive(Clone, Debug, Default)]
pub(super) struct Pairing {
    /// What belongs together.
    pub(super) pairs: Vec<Pair>,
    /// Lines without a record.
    pub(super) lines: Vec<Leftover>,
    /// Records without a line.
    pub(super) records: Vec<Leftover>,
    /// Lines that another statement tells too.
    pub(super) repeated_lines: Vec<usize>,
    /// Records that another channel carried.
    pub(super) foreign_records: Vec<usize>,
}

/// Pairs the channel's lines with our records.
pub(super) fn pair(theirs: &Entries, ours: &Entries) -> Pairing {
    let mut matcher = Matcher::new(theirs, ours);
    matcher.meet_by_our_number();
    matcher.meet_by_channel_number();
    matcher.fold_reversals();
    matcher.finish()
}

/// Whether anything under one number of ours found its counterpart.
#[derive(Clone, Copy, Debug)]
struct Group {
    has_paired_line: bool,
    has_paired_record: bool,
}

/// An entry that is still alone, and its group.
#[derive(Clone, Copy, Debug)]
struct Lone {
    position: usize,
    group: usize,
    /// Of a record: whether a line it claims by the channel's number has its record.
    is_claimed: bool,
}

struct Matcher<'a> {
    theirs: &'a Entries,
    ours: &'a Entries,
    /// The groups that have, or had, an entry alone.
    groups: Vec<Group>,
    lone_lines: Vec<Lone>,
    lone_records: Vec<Lone>,
    done: Pairing,
}

impl<'a> Matcher<'a> {
    fn new(theirs: &'a Entries, ours: &'a Entries) -> Self {
        Self {
            theirs,
            ours,
            groups: Vec::new(),
            lone_lines: Vec::new(),
            lone_records: Vec::new(),
            done: Pairing::default(),
        }
    }

    /// Sorts both sides by the hash of their key and walks along them. That takes less than half the time of a hash map,
    /// whose every look-up would leave the processor waiting for memory.
    fn meet_by_our_number(&mut self) {
        let lines = hashed(self.theirs.iter().enumerate());
        let mut is_foreign = |(position, record): &(usize, Entry<'_>)| {
            if record.facts.is_foreign {
                self.done.foreign_records.push(*position);
            }
            record.facts.is_foreign
        };
        let expected = self
            .ours
            .iter()
            .enumerate()
            .filter(|record| !is_foreign(record));
        let records = hashed(expected);

        self.done.pairs.reserve(lines.len().min(records.len()));
        let mut lines = lines.chunk_by(same_hash).peekable();
        let mut records = records.chunk_by(same_hash).peekable();
        loop {
            let line_hash = lines.peek().and_then(|chunk| hash_of(chunk));
            let record_hash = records.peek().and_then(|chunk| hash_of(chunk));
            // Where one side is at its end, what is left of the other comes first.
            let next = match (line_hash, record_hash) {
                (None, None) => break,
                (Some(line), Some(record)) => line.min(record),
                (Some(only), None) | (None, Some(only)) => only,
            };
            let lines = lines.next_if(|chunk| hash_of(chunk) == Some(next));
            let records = records.next_if(|chunk| hash_of(chunk) == Some(next));
            self.meet_under_hash(lines.unwrap_or_default(), records.unwrap_or_default());
        }
    }

    /// Nearly always one line and one record of one number.
    fn meet_under_hash(&mut self, lines: &[Hashed], records: &[Hashed]) {
        if let ([line], [record]) = (lines, records) {
            let (line, record) = (line.position, record.position);
            if self.theirs.get(line).map(our_key) == self.ours.get(record).map(our_key) {
                self.done.pairs.push(Pair::Direct { line, record });
                return;
            }
        }
        let mut by_number: BTreeMap<(RecordKind, &str), SameNumber> = BTreeMap::new();
        for hashed in lines {
            if let Some(line) = self.theirs.get(hashed.position) {
                let same = by_number.entry(our_key(line)).or_default();
                same.lines.push(hashed.position);
            }
        }
        for hashed in records {
            if let Some(record) = self.ours.get(hashed.position) {
                let same = by_number.entry(our_key(record)).or_default();
                same.records.push(hashed.position);
            }
        }
        for same in by_number.into_values() {
            self.meet_in_group(same);
        }
    }

    fn meet_in_group(&mut self, same: SameNumber) {
        let mut met = Meeting {
            theirs: self.theirs,
            ours: self.ours,
            lines: self.hear_each_fact_once(same.lines),
            records: same.records,
            pairs: Vec::new(),
        };
        met.pair_likest_first();
        let lone = |position| Lone {
            position,
            group: self.groups.len(),
            is_claimed: false,
        };
        self.lone_lines.extend(met.lines.into_iter().map(lone));
        self.lone_records.extend(met.records.into_iter().map(lone));
        self.groups.push(Group {
            has_paired_line: !met.pairs.is_empty(),
            has_paired_record: !met.pairs.is_empty(),
        });
        self.done.pairs.extend(met.pairs);
    }

    /// Sets aside what several statements tell of one fact, and gives back the rest.
    fn hear_each_fact_once(&mut self, mut lines: Vec<usize>) -> Vec<usize> {
        if lines.len() < 2 {
            return lines;
        }
        let theirs = self.theirs;
        lines.sort_by_cached_key(|position| {
            theirs
                .get(*position)
                .map(|line| (identity(line), line.facts.source))
        });
        let same_fact = |one: &usize, other: &usize| {
            theirs.get(*one).map(identity) == theirs.get(*other).map(identity)
        };
        let mut heard = Vec::with_capacity(lines.len());
        for fact in lines.chunk_by(same_fact) {
            let same_source =
                |one: &usize, other: &usize| source(theirs, *one) == source(theirs, *other);
            let teller = fact
                .chunk_by(same_source)
                .max_by_key(|told| (told.len(), settled(theirs, told)))
                .and_then(|told| told.first())
                .and_then(|position| source(theirs, *position));
            let (kept, repeated): (Vec<usize>, Vec<usize>) = fact
                .iter()
                .partition(|position| source(theirs, **position) == teller);
            heard.extend(kept);
            self.done.repeated_lines.extend(repeated);
        }
        heard
    }

    fn meet_by_channel_number(&mut self) {
        let mut claims: HashMap<(RecordKind, &str), Claim> = HashMap::new();
        for lone in &self.lone_records {
            // Whose own number found its line is a duplicate already.
            if self.has_paired_record(lone) {
                continue;
            }
            if let Some(entry) = self.ours.get(lone.position).filter(has_channel_no) {
                let claim = claims.entry(channel_key(entry)).or_default();
                claim.records.push(lone.position);
            }
        }
        if claims.is_empty() {
            return;
        }

        let alone = self
            .lone_lines
            .iter()
            .filter(|lone| !self.has_paired_line(lone));
        let alone: HashSet<usize> = alone.map(|lone| lone.position).collect();
        let repeated: HashSet<usize> = self.done.repeated_lines.iter().copied().collect();
        for (position, entry) in self.theirs.iter().enumerate() {
            if let Some(claim) = claims.get_mut(&channel_key(entry)) {
                if alone.contains(&position) {
                    claim.lines.push(position);
                } else if !repeated.contains(&position) {
                    claim.has_paired_line = true;
                }
            }
        }
        self.settle_claims(claims.into_values());
    }

    fn settle_claims(&mut self, claims: impl Iterator<Item = Claim>) {
        let mut paired = HashMap::new();
        let mut paired_lines = HashSet::new();
        let mut claimed = HashSet::new();
        for claim in claims {
            let mut met = Meeting {
                theirs: self.theirs,
                ours: self.ours,
                lines: claim.lines,
                records: claim.records,
                pairs: Vec::new(),
            };
            met.pair_likest_first();
            if claim.has_paired_line || !met.pairs.is_empty() {
                claimed.extend(met.records);
            }
            for pair in met.pairs {
                if let Pair::Direct { line, record } = pair {
                    paired.insert(record, pair);
                    paired_lines.insert(line);
                }
            }
        }

        for lone in &mut self.lone_records {
            lone.is_claimed = claimed.contains(&lone.position);
        }
        // In the order of the records, because the claims come in none.
        for lone in &self.lone_records {
            self.done.pairs.extend(paired.get(&lone.position));
        }
        self.forget_lone_lines(&paired_lines);
        self.forget_lone_records(|position| paired.contains_key(&position));
    }

    fn forget_lone_lines(&mut self, met: &HashSet<usize>) {
        let groups = &mut self.groups;
        self.lone_lines.retain(|lone| {
            let is_met = met.contains(&lone.position);
            if is_met && let Some(group) = groups.get_mut(lone.group) {
                group.has_paired_line = true;
            }
            !is_met
        });
    }

    fn forget_lone_records(&mut self, is_met: impl Fn(usize) -> bool) {
        let groups = &mut self.groups;
        self.lone_records.retain(|lone| {
            let is_met = is_met(lone.position);
            if is_met && let Some(group) = groups.get_mut(lone.group) {
                group.has_paired_record = true;
            }
            !is_met
        });
    }

    fn finish(mut self) -> Pairing {
        self.done.lines = leftovers(&self.lone_lines, |lone| self.has_paired_line(lone));
        self.done.records = leftovers(&self.lone_records, |lone| {
            lone.is_claimed || self.has_paired_record(lone)
        });
        self.done
    }

    fn has_paired_line(&self, lone: &Lone) -> bool {
        self.groups
            .get(lone.group)
            .is_some_and(|group| group.has_paired_line)
    }

    fn has_paired_record(&self, lone: &Lone) -> bool {
        self.groups
            .get(lone.group)
            .is_some_and(|group| group.has_paired_record)
    }
}

/// Records that claim one channel number, and the lines that carry it.
#[derive(Debug, Default)]
struct Claim {
    lines: Vec<usize>,
    records: Vec<usize>,
    has_paired_line: bool,
}

/// Lines and records under one number of ours.
#[derive(Debug, Default)]
struct SameNumber {
    lines: Vec<usize>,
    records: Vec<usize>,
}

/// The position of an entry, under the hash of its key.
#[derive(Clone, Copy, Debug)]
struct Hashed {
    hash: u64,
    position: usize,
}

fn hashed<'a>(entries: impl Iterator<Item = (usize, Entry<'a>)>) -> Vec<Hashed> {
    let mut hashed: Vec<Hashed> = entries
        .map(|(position, entry)| {
            let mut hasher = DefaultHasher::new();
            our_key(entry).hash(&mut hasher);
            let hash = hasher.finish();
            Hashed { hash, position }
        })
        .collect();
    hashed.sort_unstable_by_key(|hashed| (hashed.hash, hashed.position));
    hashed
}

fn same_hash(one: &Hashed, other: &Hashed) -> bool {
    one.hash == other.hash
}

fn hash_of(chunk: &[Hashed]) -> Option<u64> {
    chunk.first().map(|hashed| hashed.hash)
}

/// Marks those that have their counterpart or a fellow before them; a group's entries stand together.
fn leftovers(alone: &[Lone], has_counterpart: impl Fn(&Lone) -> bool) -> Vec<Leftover> {
    let mut found = Vec::with_capacity(alone.len());
    for group in alone.chunk_by(|one, other| one.group == other.group) {
        for (lone, fellows_before) in group.iter().zip(0_usize..) {
            found.push(Leftover {
                position: lone.position,
                is_extra: fellows_before > 0 || has_counterpart(lone),
            });
        }
    }
    found
}

/// What makes a line the same fact as another: its kind, all its numbers, its amount and its fee.
fn identity(entry: Entry<'_>) -> impl Ord + use<'_> {
    let facts = entry.facts;
    (
        facts.kind,
        entry.channel_no,
        entry.original_no,
        facts.amount.currency(),
        facts.amount.minor_units(),
        facts.fee,
    )
}

fn our_key(entry: Entry<'_>) -> (RecordKind, &str) {
    (entry.facts.kind.record_kind(), entry.record_no)
}

fn channel_key(entry: Entry<'_>) -> (RecordKind, &str) {
    (entry.facts.kind.record_kind(), entry.channel_no)
}

fn has_channel_no(entry: &Entry<'_>) -> bool {
    !entry.channel_no.is_empty()
}

fn source(entries: &Entries, position: usize) -> Option<u16> {
    entries.get(position).map(|entry| entry.facts.source)
}

/// How many of these are no longer pending: a later statement knows more than an earlier one.
fn settled(entries: &Entries, positions: &[usize]) -> usize {
    let is_settled = |position: &&usize| {
        entries
            .get(**position)
            .is_some_and(|entry| entry.facts.status != RecordStatus::Pending)
    };
    positions.iter().filter(is_settled).count()
}
