//! A hold on a payer's money at a channel, from the intent to its proved end.
//!
//! Until the channel's answer is proved, the whole amount counts as held: nobody else is asked for it. What the
//! channel says of an authorization whose outcome is open is weighed in [`weigh`], in one place for everybody who
//! asks.

use chrono::{DateTime, TimeDelta, Utc};
use clearday_jobs::{
    Capture, ChannelName, MerchantId, MethodGroup, MethodId, Money, OrderNo, Reference,
};
use sha2::{Digest, Sha256};

use super::operation::{Operation, OperationState};
use super::order_expiry::ask_again_at;
use super::words::words;

words! {
    /// Where an authorization is.
    AuthorizationState {
        /// Written down; the request may or may not have left.
        Intended = "intended",
        /// The request left and no trustworthy answer came back.
        Unknown = "unknown",
        /// The channel holds the money.
        Authorized = "authorized",
        /// It is being let go, as a whole or in part.
        Voiding = "voiding",
        /// The channel took the money. Final.
        Captured = "captured",
        /// Let go on somebody's wish. Final.
        Voided = "voided",
        /// Let go by the channel, because its time was over. Final.
        Lapsed = "lapsed",
        /// Refused by the channel. Final.
        Declined = "declined",
        /// Proved to have never reached the channel. Final.
        Absent = "absent",
    }
    "intended, unknown, authorized, voiding, captured, voided, lapsed, declined, absent"
}

/// What can be learned about an authorization, or done with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AuthorizationEvent {
    /// The channel holds the money.
    Authorize,
    /// The channel took the money.
    Capture,
    /// The channel refused.
    Decline,
    /// No trustworthy answer.
    Lose,
    /// It never reached the channel, and never will.
    Miss,
    /// It is to be let go.
    BeginVoid,
    /// All of it was let go.
    Release,
    /// The part that was to be let go was; the rest is held.
    Reduce,
    /// It was not let go: it is held as before.
    Keep,
    /// The channel let it go by itself.
    Lapse,
}

impl AuthorizationEvent {
    /// Every event.
    pub const ALL: [Self; 10] = [
        Self::Authorize,
        Self::Capture,
        Self::Decline,
        Self::Lose,
        Self::Miss,
        Self::BeginVoid,
        Self::Release,
        Self::Reduce,
        Self::Keep,
        Self::Lapse,
    ];
}

impl AuthorizationState {
    /// The state after `event`, or `None` when it is refused.
    pub const fn after(self, event: AuthorizationEvent) -> Option<Self> {
        match self {
            Self::Intended | Self::Unknown => match event {
                AuthorizationEvent::Authorize => Some(Self::Authorized),
                AuthorizationEvent::Capture => Some(Self::Captured),
                AuthorizationEvent::Decline => Some(Self::Declined),
                AuthorizationEvent::Lose => Some(Self::Unknown),
                AuthorizationEvent::Miss => Some(Self::Absent),
                // Somebody else let it go before we had the answer.
                AuthorizationEvent::Release => Some(Self::Voided),
                AuthorizationEvent::Lapse => Some(Self::Lapsed),
                AuthorizationEvent::BeginVoid
                | AuthorizationEvent::Reduce
                | AuthorizationEvent::Keep => None,
            },
            Self::Authorized => match event {
                AuthorizationEvent::Capture => Some(Self::Captured),
                AuthorizationEvent::BeginVoid => Some(Self::Voiding),
                AuthorizationEvent::Release => Some(Self::Voided),
                AuthorizationEvent::Lapse => Some(Self::Lapsed),
                AuthorizationEvent::Authorize
                | AuthorizationEvent::Decline
                | AuthorizationEvent::Lose
                | AuthorizationEvent::Miss
                | AuthorizationEvent::Reduce
                | AuthorizationEvent::Keep => None,
            },
            Self::Voiding => match event {
                AuthorizationEvent::Capture => Some(Self::Captured),
                AuthorizationEvent::Release => Some(Self::Voided),
                AuthorizationEvent::Reduce | AuthorizationEvent::Keep => Some(Self::Authorized),
                AuthorizationEvent::Lapse => Some(Self::Lapsed),
                AuthorizationEvent::Lose => Some(Self::Voiding),
                AuthorizationEvent::Authorize
                | AuthorizationEvent::Decline
                | AuthorizationEvent::Miss
                | AuthorizationEvent::BeginVoid => None,
            },
            Self::Captured | Self::Voided | Self::Lapsed | Self::Declined | Self::Absent => {
                match event {
                    AuthorizationEvent::Authorize
                    | AuthorizationEvent::Capture
                    | AuthorizationEvent::Decline
                    | AuthorizationEvent::Lose
                    | AuthorizationEvent::Miss
                    | AuthorizationEvent::BeginVoid
                    | AuthorizationEvent::Release
                    | AuthorizationEvent::Reduce
                    | AuthorizationEvent::Keep
                    | AuthorizationEvent::Lapse => None,
                }
            }
        }
    }

    /// Whether it holds the payer's money, or may do so.
    pub const fn is_live(self) -> bool {
        match self {
            Self::Intended | Self::Unknown | Self::Authorized | Self::Voiding => true,
            Self::Captured | Self::Voided | Self::Lapsed | Self::Declined | Self::Absent => false,
        }
    }

    /// Whether a call about it has no proved outcome.
    pub const fn is_open(self) -> bool {
        match self {
            Self::Intended | Self::Unknown | Self::Voiding => true,
            Self::Authorized
            | Self::Captured
            | Self::Voided
            | Self::Lapsed
            | Self::Declined
            | Self::Absent => false,
        }
    }

    /// Whether its amount is held, taken, or may be.
    pub const fn is_committed(self) -> bool {
        match self {
            Self::Intended | Self::Unknown | Self::Authorized | Self::Voiding | Self::Captured => {
                true
            }
            Self::Voided | Self::Lapsed | Self::Declined | Self::Absent => false,
        }
    }
}

/// An authorization as it stands in the database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Authorization {
    /// Our number for it at the channel; see [`reference_for`].
    pub reference: Reference,
    /// The channel.
    pub channel: ChannelName,
    /// The order it pays for.
    pub order_no: OrderNo,
    /// Whose order.
    pub merchant_id: MerchantId,
    /// The method it was asked from.
    pub method_id: MethodId,
    /// The group of that method.
    pub group: MethodGroup,
    /// Counts what was asked from the method for this order; 1 is the first.
    pub number: u32,
    /// Who takes the money.
    pub capture: Capture,
    /// What is held or was taken; before that is proved, what was asked for; after its end, what had been.
    pub amount: Money,
    /// While it is being let go: what is to stay.
    pub keep: Option<Money>,
    /// Where it is.
    pub state: AuthorizationState,
    /// Counts the changes.
    pub version: i64,
    /// Why this method, and why this much.
    pub because: String,
    /// Whether a person was told that its money is owed by nobody.
    pub is_surplus_told: bool,
    /// When something was last learned.
    pub updated_at: DateTime<Utc>,
}

/// An authorization with the newest call about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuthorizationWithCall {
    /// The authorization.
    pub authorization: Authorization,
    /// The newest call: to let it go where that was ever asked for, else to authorize.
    pub call: Option<Operation>,
}

/// The number of an authorization at its channel: the beginning of the order's, for people, and a digest of order,
/// method and number. The same three always give the same, so an authorization cannot be asked for twice under two.
pub fn reference_for(
    order_no: &OrderNo,
    method_id: &MethodId,
    number: u32,
) -> Result<Reference, clearday_jobs::IdError> {
    /// With sixteen digits, a number of ten and two dashes this stays below what channels take.
    const ORDER_CHARACTERS: usize = 36;
    const DIGEST_BYTES: usize = 8;
    let order: String = order_no.as_str().chars().take(ORDER_CHARACTERS).collect();
    let digest = Sha256::digest(format!("{order_no}\n{method_id}\n{number}"));
    let digest: Vec<String> = digest
        .iter()
        .take(DIGEST_BYTES)
        .map(|byte| format!("{byte:02x}"))
        .collect();
    Reference::new(format!("{order}-{number}-{}", digest.concat()))
}

/// What became of the open call about an authorization, once this is proved of it.
pub const fn fate_of_call(event: AuthorizationEvent, state: AuthorizationState) -> OperationState {
    match event {
        AuthorizationEvent::Authorize
        | AuthorizationEvent::Release
        | AuthorizationEvent::Reduce => OperationState::Succeeded,
        // Proof for what was asked to hold the money, and against what was asked to let it go.
        AuthorizationEvent::Capture | AuthorizationEvent::Lapse => match state {
            AuthorizationState::Intended | AuthorizationState::Unknown => OperationState::Succeeded,
            AuthorizationState::Authorized
            | AuthorizationState::Voiding
            | AuthorizationState::Captured
            | AuthorizationState::Voided
            | AuthorizationState::Lapsed
            | AuthorizationState::Declined
            | AuthorizationState::Absent => OperationState::Declined,
        },
        AuthorizationEvent::Decline | AuthorizationEvent::Miss | AuthorizationEvent::Keep => {
            OperationState::Declined
        }
        AuthorizationEvent::Lose | AuthorizationEvent::BeginVoid => OperationState::Unknown,
    }
}

/// What the channel says of an authorization.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HoldView {
    /// It holds this much.
    Held(Money),
    /// It took the money.
    Captured,
    /// It let it go on somebody's wish.
    Released,
    /// It let it go by itself.
    Lapsed,
    /// It refused.
    Declined,
    /// It has never heard of it.
    NotFound,
}

/// What the channel promises about the call in question.
#[derive(Clone, Copy, Debug)]
pub struct CallPromises {
    /// The same key again has no second effect.
    pub is_idempotent: bool,
    /// After this long without effect, a call that left has none any more.
    pub processing_window: TimeDelta,
}

/// What an answer about an open authorization means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Finding {
    /// It proves this.
    Proved(AuthorizationEvent),
    /// Send the open call again: the channel takes the same key once.
    Replay(Operation),
    /// Nobody knows yet; ask again then.
    Wait(DateTime<Utc>, String),
}

/// Weighs what the channel says of an authorization whose outcome is open.
///
/// `is_wanted` is whether the money is still to be held: what is not wanted any more is not sent again, and "not
/// found" proves its absence when the channel's processing window has passed since the call.
pub fn weigh(
    found: &AuthorizationWithCall,
    view: HoldView,
    promises: CallPromises,
    is_wanted: bool,
    now: DateTime<Utc>,
) -> Finding {
    let AuthorizationWithCall {
        authorization,
        call,
    } = found;
    let call = call.as_ref();
    match authorization.state {
        AuthorizationState::Intended | AuthorizationState::Unknown => match view {
            HoldView::Held(_) => Finding::Proved(AuthorizationEvent::Authorize),
            HoldView::Captured => Finding::Proved(AuthorizationEvent::Capture),
            HoldView::Released => Finding::Proved(AuthorizationEvent::Release),
            HoldView::Lapsed => Finding::Proved(AuthorizationEvent::Lapse),
            HoldView::Declined => Finding::Proved(AuthorizationEvent::Decline),
            HoldView::NotFound => {
                without_effect(call, promises, is_wanted, AuthorizationEvent::Miss, now)
            }
        },
        AuthorizationState::Voiding => match view {
            HoldView::Captured => Finding::Proved(AuthorizationEvent::Capture),
            HoldView::Released => Finding::Proved(AuthorizationEvent::Release),
            HoldView::Lapsed => Finding::Proved(AuthorizationEvent::Lapse),
            HoldView::Held(amount) if is_reduced(authorization, amount) => {
                Finding::Proved(AuthorizationEvent::Reduce)
            }
            HoldView::Held(_) => {
                without_effect(call, promises, true, AuthorizationEvent::Keep, now)
            }
            HoldView::Declined | HoldView::NotFound => contradiction(authorization, now),
        },
        AuthorizationState::Authorized => match view {
            HoldView::Captured => Finding::Proved(AuthorizationEvent::Capture),
            HoldView::Released => Finding::Proved(AuthorizationEvent::Release),
            HoldView::Lapsed => Finding::Proved(AuthorizationEvent::Lapse),
            HoldView::Held(_) => {
                let reason = format!("authorization {} is held", authorization.reference);
                Finding::Wait(ask_again_at(authorization.updated_at, now), reason)
            }
            HoldView::Declined | HoldView::NotFound => contradiction(authorization, now),
        },
        AuthorizationState::Captured
        | AuthorizationState::Voided
        | AuthorizationState::Lapsed
        | AuthorizationState::Declined
        | AuthorizationState::Absent => contradiction(authorization, now),
    }
}

fn is_reduced(authorization: &Authorization, held: Money) -> bool {
    authorization
        .keep
        .is_some_and(|keep| !keep.is_zero() && held.minor_units() <= keep.minor_units())
}

/// The channel shows no effect of the call. `proof` is what that proves once no call can take effect any more.
fn without_effect(
    call: Option<&Operation>,
    promises: CallPromises,
    is_wanted: bool,
    proof: AuthorizationEvent,
    now: DateTime<Utc>,
) -> Finding {
    let Some(call) = call else {
        return Finding::Proved(proof);
    };
    let key = &call.idempotency_key;
    match call.state {
        // The channel said yes and now says otherwise: its query may lag. Never a new key for what is proved.
        OperationState::Succeeded => Finding::Wait(
            ask_again_at(call.updated_at, now),
            format!("the channel confirmed {key} and yet shows no effect of it; it is asked again"),
        ),
        // A refusal is proof, but the next try never follows in a tight loop.
        OperationState::Declined => {
            let again = ask_again_at(call.intended_at, call.updated_at);
            if now >= again {
                Finding::Proved(proof)
            } else {
                Finding::Wait(
                    again,
                    format!("the channel refused {key}; it is asked again"),
                )
            }
        }
        OperationState::Intended | OperationState::Unknown
            if promises.is_idempotent && is_wanted =>
        {
            Finding::Replay(call.clone())
        }
        OperationState::Intended | OperationState::Unknown => {
            let quarantine = call.quarantined_until(promises.processing_window);
            if now >= quarantine {
                Finding::Proved(proof)
            } else {
                let reason = format!(
                    "{key} has an unknown outcome since {}; the channel is asked again",
                    call.updated_at.to_rfc3339()
                );
                Finding::Wait(quarantine.min(ask_again_at(call.intended_at, now)), reason)
            }
        }
    }
}

/// What was proved once is not unsaid by a later answer: it is asked for again, and never guessed.
fn contradiction(authorization: &Authorization, now: DateTime<Utc>) -> Finding {
    let reason = format!(
        "channel {} contradicts what is proved of authorization {} ({}); it is asked again",
        authorization.channel, authorization.reference, authorization.state
    );
    Finding::Wait(ask_again_at(authorization.updated_at, now), reason)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::operation::{LEAVES_WITHIN, OperationKind};
    use clearday_jobs::{Currency, JobId, OperationId};
    use uuid::Uuid;

    const WINDOW: TimeDelta = TimeDelta::minutes(5);

    fn noon() -> DateTime<Utc> {
        "2026-03-02T12:00:00Z".parse().unwrap()
    }

    fn cny(minor_units: i64) -> Money {
        Money::from_minor(minor_units, Currency::parse("CNY").unwrap())
    }

    fn authorization(state: AuthorizationState, keep: Option<i64>) -> Authorization {
        Authorization {
            reference: "A-1".parse().unwrap(),
            channel: "sandbox".parse().unwrap(),
            order_no: "O-1".parse().unwrap(),
            merchant_id: "M-1".parse().unwrap(),
            method_id: "card".parse().unwrap(),
            group: MethodGroup::CreditCard,
            number: 1,
            capture: Capture::Manual,
            amount: cny(100),
            keep: keep.map(cny),
            state,
            version: 1,
            because: String::new(),
            is_surplus_told: false,
            updated_at: noon(),
        }
    }

    fn call(state: OperationState) -> Operation {
        Operation {
            id: OperationId(Uuid::nil()),
            job_id: JobId(Uuid::nil()),
            kind: OperationKind::Authorize,
            channel: "sandbox".parse().unwrap(),
            reference: "A-1".parse().unwrap(),
            generation: 1,
            idempotency_key: "authorize:sandbox:A-1:1".to_owned(),
            state,
            intended_at: noon(),
            updated_at: noon(),
        }
    }

    #[test]
    fn every_pair_of_state_and_event_is_answered() {
        let table: Vec<String> = AuthorizationState::ALL
            .iter()
            .map(|state| {
                let answers: Vec<String> = AuthorizationEvent::ALL
                    .iter()
                    .map(|event| match state.after(*event) {
                        Some(next) => format!("{event:?} -> {next}"),
                        None => format!("{event:?} -> refused"),
                    })
                    .collect();
                format!("{state}: {}", answers.join(", "))
            })
            .collect();
        assert_eq!(
            table.join("\n"),
            "\
intended: Authorize -> authorized, Capture -> captured, Decline -> declined, Lose -> unknown, Miss -> absent, BeginVoid -> refused, Release -> voided, Reduce -> refused, Keep -> refused, Lapse -> lapsed
unknown: Authorize -> authorized, Capture -> captured, Decline -> declined, Lose -> unknown, Miss -> absent, BeginVoid -> refused, Release -> voided, Reduce -> refused, Keep -> refused, Lapse -> lapsed
authorized: Authorize -> refused, Capture -> captured, Decline -> refused, Lose -> refused, Miss -> refused, BeginVoid -> voiding, Release -> voided, Reduce -> refused, Keep -> refused, Lapse -> lapsed
voiding: Authorize -> refused, Capture -> captured, Decline -> refused, Lose -> voiding, Miss -> refused, BeginVoid -> refused, Release -> voided, Reduce -> authorized, Keep -> authorized, Lapse -> lapsed
captured: Authorize -> refused, Capture -> refused, Decline -> refused, Lose -> refused, Miss -> refused, BeginVoid -> refused, Release -> refused, Reduce -> refused, Keep -> refused, Lapse -> refused
voided: Authorize -> refused, Capture -> refused, Decline -> refused, Lose -> refused, Miss -> refused, BeginVoid -> refused, Release -> refused, Reduce -> refused, Keep -> refused, Lapse -> refused
lapsed: Authorize -> refused, Capture -> refused, Decline -> refused, Lose -> refused, Miss -> refused, BeginVoid -> refused, Release -> refused, Reduce -> refused, Keep -> refused, Lapse -> refused
declined: Authorize -> refused, Capture -> refused, Decline -> refused, Lose -> refused, Miss -> refused, BeginVoid -> refused, Release -> refused, Reduce -> refused, Keep -> refused, Lapse -> refused
absent: Authorize -> refused, Capture -> refused, Decline -> refused, Lose -> refused, Miss -> refused, BeginVoid -> refused, Release -> refused, Reduce -> refused, Keep -> refused, Lapse -> refused"
        );
    }

    fn name(finding: &Finding) -> String {
        match finding {
            Finding::Proved(event) => format!("{event:?}"),
            Finding::Replay(_) => "replay".to_owned(),
            Finding::Wait(..) => "wait".to_owned(),
        }
    }

    #[test]
    fn what_a_query_proves_follows_from_what_was_asked() {
        use AuthorizationState::{Authorized, Captured, Intended, Unknown, Voiding};
        let views = [
            HoldView::Held(cny(100)),
            HoldView::Held(cny(40)),
            HoldView::Captured,
            HoldView::Released,
            HoldView::Lapsed,
            HoldView::Declined,
            HoldView::NotFound,
        ];
        let rows = [
            ("intended", Intended, None),
            ("unknown", Unknown, None),
            ("voiding all", Voiding, Some(0)),
            ("voiding to 40", Voiding, Some(40)),
            ("authorized", Authorized, None),
            ("captured", Captured, None),
        ];
        let promises = CallPromises {
            is_idempotent: true,
            processing_window: WINDOW,
        };
        let table: Vec<String> = rows
            .into_iter()
            .map(|(row, state, keep)| {
                let found = AuthorizationWithCall {
                    authorization: authorization(state, keep),
                    call: Some(call(OperationState::Unknown)),
                };
                let findings = views.map(|view| name(&weigh(&found, view, promises, true, noon())));
                format!("{row}: {}", findings.join(", "))
            })
            .collect();
        // Held, held in part, captured, released, lapsed, declined, not found.
        assert_eq!(
            table.join("\n"),
            "\
intended: Authorize, Authorize, Capture, Release, Lapse, Decline, replay
unknown: Authorize, Authorize, Capture, Release, Lapse, Decline, replay
voiding all: replay, replay, Capture, Release, Lapse, wait, wait
voiding to 40: replay, Reduce, Capture, Release, Lapse, wait, wait
authorized: wait, wait, Capture, Release, Lapse, wait, wait
captured: wait, wait, wait, wait, wait, wait, wait"
        );
    }

    #[test]
    fn a_call_without_effect_is_never_sent_again_blindly() {
        use OperationState::{Declined, Intended, Succeeded, Unknown};
        let mut table = Vec::new();
        for (promise, is_idempotent, is_wanted) in [
            ("idempotent", true, true),
            ("idempotent, not wanted", true, false),
            ("not idempotent", false, true),
        ] {
            for last in [
                None,
                Some(Intended),
                Some(Unknown),
                Some(Declined),
                Some(Succeeded),
            ] {
                let found = AuthorizationWithCall {
                    authorization: authorization(AuthorizationState::Unknown, None),
                    call: last.map(call),
                };
                let promises = CallPromises {
                    is_idempotent,
                    processing_window: WINDOW,
                };
                let at = |now| {
                    let view = HoldView::NotFound;
                    name(&weigh(&found, view, promises, is_wanted, now))
                };
                table.push(format!(
                    "{promise}, {}: {}, then {}",
                    last.map_or("none", OperationState::as_str),
                    at(noon()),
                    at(noon() + LEAVES_WITHIN + WINDOW),
                ));
            }
        }
        // The channel says "not found": at once, and after its processing window.
        assert_eq!(
            table.join("\n"),
            "\
idempotent, none: Miss, then Miss
idempotent, intended: replay, then replay
idempotent, unknown: replay, then replay
idempotent, declined: wait, then Miss
idempotent, succeeded: wait, then wait
idempotent, not wanted, none: Miss, then Miss
idempotent, not wanted, intended: wait, then Miss
idempotent, not wanted, unknown: wait, then Miss
idempotent, not wanted, declined: wait, then Miss
idempotent, not wanted, succeeded: wait, then wait
not idempotent, none: Miss, then Miss
not idempotent, intended: wait, then Miss
not idempotent, unknown: wait, then Miss
not idempotent, declined: wait, then Miss
not idempotent, succeeded: wait, then wait"
        );
    }

    #[test]
    fn a_reference_names_order_method_and_number_and_fits_every_channel() {
        let of = |order: &str, method: &str, number| {
            reference_for(&order.parse().unwrap(), &method.parse().unwrap(), number)
                .unwrap()
                .to_string()
        };
        assert_eq!(of("SO-1", "card", 1), "SO-1-1-ee6ac257964cae18");
        let long = "x".repeat(64);
        assert_eq!(of(&long, &long, u32::MAX).len(), 64);
        assert_ne!(of("SO-1", "a", 1), of("SO-1", "b", 1));
        assert_ne!(of("SO-1", "a", 1), of("SO-1", "a", 2));
        // The first characters of both orders are the same.
        let other = format!("{}y", "x".repeat(63));
        assert_ne!(of(&other, "a", 1), of(&long, "a", 1));
    }
}
