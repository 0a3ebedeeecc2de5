//! The chain of what people did and of what moved money: each link carries the digest of the one
//! before it, so that history cannot be edited in silence.
//!
//! A chain alone cannot tell that all of it was written anew, or that it was cut off together with
//! its head; who wants to know that keeps the head's digest elsewhere, as the day's certificate does.

use chrono::{DateTime, SecondsFormat, Utc};
use clearday_jobs::canonical_json;
use serde_json::{Value, json};

use super::digest::hex_sha256;
use super::words::words;

words! {
    /// What was done.
    AuditAction {
        /// Somebody's agreement was asked for.
        ApprovalRequested = "approval_requested",
        /// A payout below the limit was approved by nobody.
        ApprovedBelowLimit = "approved_below_limit",
        /// The first person signed.
        ApprovalMade = "approval_made",
        /// The second person signed.
        ApprovalChecked = "approval_checked",
        /// Somebody refused.
        ApprovalRejected = "approval_rejected",
        /// What was asked is no longer so.
        ApprovalSuperseded = "approval_superseded",
        /// An operator made a job due.
        JobRetried = "job_retried",
        /// An operator withdrew a job.
        JobCancelled = "job_cancelled",
        /// An operator put a job off.
        JobSnoozed = "job_snoozed",
        /// An operator made all jobs due that match.
        JobsRetried = "jobs_retried",
        /// An operator withdrew all jobs that match.
        JobsCancelled = "jobs_cancelled",
        /// An operator put all jobs off that match.
        JobsSnoozed = "jobs_snoozed",
        /// An operator stopped the leasing of a kind.
        QueuePaused = "queue_paused",
        /// An operator let a kind be leased again.
        QueueResumed = "queue_resumed",
        /// An operator submitted anew, mended, what had been refused.
        RejectionMended = "rejection_mended",
        /// A bank was told to pay.
        PayoutSent = "payout_sent",
        /// Somebody claims that a merchant was paid outside of clearday.
        OfflinePaymentRegistered = "offline_payment_registered",
        /// A file says something else of a merchant than we knew.
        MerchantChanged = "merchant_changed",
        /// A merchant is paid to another account from now on.
        BankAccountChanged = "bank_account_changed",
        /// A change of account was dropped.
        BankAccountDropped = "bank_account_dropped",
    }
    "the names of domain/audit.rs"
}

/// The digest before the first link.
pub const GENESIS: &str = "0000000000000000000000000000000000000000000000000000000000000000";

/// Who stands in the chain where no person acted.
pub const CLEARDAY: &str = "clearday";

/// Something to be added to the chain.
#[derive(Clone, Debug, PartialEq)]
pub struct AuditEntry {
    /// Who did it.
    pub who: String,
    /// What.
    pub what: AuditAction,
    /// To what: the id of an approval, a job, a payout.
    pub subject: String,
    /// What else there is to know, as an object.
    pub detail: Value,
}

/// One link as it is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditRow {
    /// Its place, counted from 1 without a gap.
    pub seq: i64,
    /// The digest of the link before.
    pub prev_sha256: String,
    /// The digest of this one.
    pub sha256: String,
    /// When.
    pub at: DateTime<Utc>,
    /// Who.
    pub who: String,
    /// What.
    pub what: String,
    /// To what.
    pub subject: String,
    /// Canonical JSON.
    pub detail: String,
}

/// The last link, as the chain's own row remembers it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChainHead {
    /// Its place; 0 before the first.
    pub seq: i64,
    /// Its digest.
    pub sha256: String,
}

impl ChainHead {
    /// The link that follows this head.
    pub fn next(&self, entry: &AuditEntry, at: DateTime<Utc>) -> AuditRow {
        let mut row = AuditRow {
            seq: self.seq.saturating_add(1),
            prev_sha256: self.sha256.clone(),
            sha256: String::new(),
            at,
            who: entry.who.clone(),
            what: entry.what.as_str().to_owned(),
            subject: entry.subject.clone(),
            detail: canonical_json(&entry.detail),
        };
        row.sha256 = digest_of(&row);
        row
    }
}

impl From<&AuditRow> for ChainHead {
    fn from(row: &AuditRow) -> Self {
        Self {
            seq: row.seq,
            sha256: row.sha256.clone(),
        }
    }
}

/// The digest of everything a link says, and of the link before it.
fn digest_of(row: &AuditRow) -> String {
    let told = json!({
        "at": row.at.to_rfc3339_opts(SecondsFormat::Micros, true),
        "detail": row.detail,
        "prev_sha256": row.prev_sha256,
        "seq": row.seq,
        "subject": row.subject,
        "what": row.what,
        "who": row.who,
    });
    hex_sha256(canonical_json(&told).as_bytes())
}

/// Where the chain is broken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BrokenChain {
    /// Rows are missing before this one.
    #[error("row {expected} is missing: row {found} follows row {}", .expected.saturating_sub(1))]
    Gap {
        /// The row that should be there.
        expected: i64,
        /// The one that is.
        found: i64,
    },
    /// It does not follow the row before it.
    #[error(
        "row {0} does not follow the row before it: one of them was inserted, moved or replaced"
    )]
    Unlinked(i64),
    /// It does not say what was written.
    #[error("row {0} is not as it was written")]
    Edited(i64),
    /// Rows are missing at the end.
    #[error("row {} is missing: the chain was cut off, its head is row {head}", .last.saturating_add(1))]
    CutOff {
        /// The last row there is.
        last: i64,
        /// The last row there was.
        head: i64,
    },
    /// There are rows that the head does not know.
    #[error("row {} was added behind the head of the chain, row {head}", .head.saturating_add(1))]
    Appended {
        /// The last row there was.
        head: i64,
    },
    /// The last row is not the one that the head remembers.
    #[error("row {0} is not the one that the head of the chain remembers")]
    OtherHead(i64),
    /// The head itself is gone.
    #[error("the head of the chain is missing")]
    NoHead,
}

impl BrokenChain {
    /// The first row that is not as it should be; 0 where there is none to point at.
    pub const fn row(&self) -> i64 {
        match self {
            Self::Gap { expected, .. } => *expected,
            Self::Unlinked(row) | Self::Edited(row) | Self::OtherHead(row) => *row,
            Self::CutOff { last, .. } => last.saturating_add(1),
            Self::Appended { head } => head.saturating_add(1),
            Self::NoHead => 0,
        }
    }
}

/// Checks a chain link by link, in the order of its rows.
#[derive(Clone, Debug)]
pub struct ChainCheck(ChainHead);

impl Default for ChainCheck {
    fn default() -> Self {
        Self(ChainHead {
            seq: 0,
            sha256: GENESIS.to_owned(),
        })
    }
}

impl ChainCheck {
    /// The last link that was found whole.
    pub const fn head(&self) -> &ChainHead {
        &self.0
    }

    /// Checks the next row.
    ///
    /// # Errors
    /// [`BrokenChain`], which names the row.
    pub fn follow(&mut self, row: &AuditRow) -> Result<(), BrokenChain> {
        let expected = self.0.seq.saturating_add(1);
        if row.seq > expected {
            let found = row.seq;
            return Err(BrokenChain::Gap { expected, found });
        }
        if row.seq < expected || row.prev_sha256 != self.0.sha256 {
            return Err(BrokenChain::Unlinked(row.seq));
        }
        if digest_of(row) != row.sha256 {
            return Err(BrokenChain::Edited(row.seq));
        }
        self.0 = row.into();
        Ok(())
    }

    /// Checks that the chain ends where its head says.
    ///
    /// # Errors
    /// [`BrokenChain`], which names the row.
    pub fn end(&self, head: Option<&ChainHead>) -> Result<(), BrokenChain> {
        let head = head.ok_or(BrokenChain::NoHead)?;
        let last = self.0.seq;
        if last < head.seq {
            let head = head.seq;
            return Err(BrokenChain::CutOff { last, head });
        }
        if last > head.seq {
            return Err(BrokenChain::Appended { head: head.seq });
        }
        if self.0.sha256 != head.sha256 {
            return Err(BrokenChain::OtherHead(last));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chain(length: usize) -> Vec<AuditRow> {
        let mut head = ChainCheck::default().head().clone();
        (0..length)
            .map(|number| {
                let entry = AuditEntry {
                    who: "wang".to_owned(),
                    what: AuditAction::JobRetried,
                    subject: format!("job {number}"),
                    detail: json!({"b": number, "a": "重试"}),
                };
                let at = DateTime::from_timestamp_micros(1_772_452_800_000_000).unwrap();
                let row = head.next(&entry, at);
                head = (&row).into();
                row
            })
            .collect()
    }

    fn check(rows: &[AuditRow], head: &ChainHead) -> Result<(), BrokenChain> {
        let mut check = ChainCheck::default();
        rows.iter().try_for_each(|row| check.follow(row))?;
        check.end(Some(head))
    }

    #[test]
    fn a_whole_chain_is_whole() {
        let rows = chain(4);
        assert_eq!(check(&rows, &(&rows[3]).into()), Ok(()));
        assert_eq!(check(&[], ChainCheck::default().head()), Ok(()));
    }

    /// Digests are for ever: a change here would call every old chain edited.
    #[test]
    fn the_digest_of_a_link_never_changes() {
        let rows = chain(2);
        assert_eq!(rows[0].detail, r#"{"a":"重试","b":0}"#);
        assert_eq!(rows[1].prev_sha256, rows[0].sha256);
        let digest = "9e2dbd05d2e9ae56dadf2b097089e25360bf4942eb0e034e91878c3dada92fbe";
        assert_eq!(rows[0].sha256, digest);
    }

    #[test]
    fn every_edit_is_named() {
        let edits: [fn(&mut AuditRow); 6] = [
            |row| row.who = "li".to_owned(),
            |row| row.what = "job_cancelled".to_owned(),
            |row| row.subject.push('0'),
            |row| row.detail = "{}".to_owned(),
            |row| row.at += chrono::TimeDelta::microseconds(1),
            |row| row.sha256 = GENESIS.to_owned(),
        ];
        for edit in edits {
            let mut rows = chain(4);
            let head = (&rows[3]).into();
            edit(&mut rows[1]);
            assert_eq!(check(&rows, &head), Err(BrokenChain::Edited(2)));
        }
    }

    #[test]
    fn what_is_deleted_moved_inserted_or_cut_off_is_named() {
        let whole = chain(4);
        let head: ChainHead = (&whole[3]).into();

        let mut deleted = whole.clone();
        deleted.remove(1);
        let gap = BrokenChain::Gap {
            expected: 2,
            found: 3,
        };
        assert_eq!(check(&deleted, &head), Err(gap));
        deleted[1].seq = 2;
        deleted[2].seq = 3;
        assert_eq!(check(&deleted, &head), Err(BrokenChain::Unlinked(2)));

        let mut moved = whole.clone();
        moved.swap(1, 2);
        (moved[1].seq, moved[2].seq) = (2, 3);
        assert_eq!(check(&moved, &head), Err(BrokenChain::Unlinked(2)));

        let mut inserted = whole.clone();
        inserted.insert(2, whole[1].clone());
        for (row, seq) in inserted.iter_mut().zip(1..) {
            row.seq = seq;
        }
        assert_eq!(check(&inserted, &head), Err(BrokenChain::Unlinked(3)));
        // One that is made well still has a follower that was made for another.
        inserted[2] = ChainHead::from(&inserted[1]).next(
            &AuditEntry {
                who: "li".to_owned(),
                what: AuditAction::JobCancelled,
                subject: "job 9".to_owned(),
                detail: json!({}),
            },
            inserted[1].at,
        );
        assert_eq!(check(&inserted, &head), Err(BrokenChain::Unlinked(4)));

        let cut = BrokenChain::CutOff { last: 2, head: 4 };
        assert_eq!(check(&whole[..2], &head), Err(cut));
        let appended = BrokenChain::Appended { head: 4 };
        assert_eq!(check(&chain(5), &head), Err(appended));
        let other = ChainHead {
            seq: 4,
            sha256: GENESIS.to_owned(),
        };
        assert_eq!(check(&whole, &other), Err(BrokenChain::OtherHead(4)));
        assert_eq!(ChainCheck::default().end(None), Err(BrokenChain::NoHead));
    }
}
