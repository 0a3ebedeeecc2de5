//! What is asked when an order was accepted before anybody could authorize its payment.
//!
//! What the fields mean is checked here; how the total is allocated to the methods is decided in the daemon.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::ids::check_name;
use crate::payload::first_duplicate;
use crate::{
    Amount, CardMonth, ChannelName, FieldError, JobKind, JobPayload, MerchantId, MethodId, OrderNo,
    PayerId, Token, Version,
};

/// More ways to pay for one order than any checkout offers; each may cost a call to a channel.
const METHODS_MAX: usize = 20;

/// What common servers and proxies take as a request line, with room to spare.
const URL_LENGTH_MAX: usize = 2048;

/// Asks to authorize an accepted order from the payment methods that its payer gave.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DeferredAuthorization {
    /// The version of this payload: 1.
    pub version: Version,
    /// The order to authorize.
    pub order: OrderToAuthorize,
    /// 1 to 20 payment methods, in the order in which the payer gave them.
    #[schemars(length(min = 1, max = METHODS_MAX))]
    pub methods: Vec<PaymentMethod>,
    /// Where the answer is posted, signed: an absolute http or https URL of at most 2048 printable ASCII characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = URL_LENGTH_MAX), regex(pattern = r"^https?://[!-~]+$"))]
    pub callback_url: Option<String>,
}

/// The order whose total is to be authorized.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct OrderToAuthorize {
    /// The number of the order.
    pub order_no: OrderNo,
    /// The merchant who sold it.
    pub merchant_id: MerchantId,
    /// Who pays.
    pub payer_id: PayerId,
    /// What is to be authorized in all, more than zero. Every amount of the payload is in its currency.
    pub total: Amount,
}

/// One way to pay for the order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PaymentMethod {
    /// The method; unique within the payload.
    pub method_id: MethodId,
    /// The group that decides which rules hold for the method.
    pub group: MethodGroup,
    /// The channel that authorizes it, as the configuration names it.
    pub channel: ChannelName,
    /// What stands for the account at the channel; never a card number.
    pub token: Token,
    /// When the method is charged: lower numbers first, 0 to 65535.
    pub charge_sequence: u16,
    /// Exactly this much is asked from the method, before any method without a fixed amount. Not negative.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fixed_amount: Option<Amount>,
    /// At most this much is asked from the method. Not negative; absent: up to the order's total.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub maximum_charge: Option<Amount>,
    /// The month through whose last day the card is good, YYYY-MM. Absent: the method does not expire.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub card_expires_on: Option<CardMonth>,
    /// Who takes the money once it is authorized.
    pub capture: Capture,
}

/// The groups of payment methods.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum MethodGroup {
    /// A card that is authorized and captured.
    CreditCard,
    /// An account that the customer has with the seller.
    CustomerAccount,
    /// A gift or prepaid card.
    StoredValueCard,
    /// Anything else.
    Other,
}

/// Who takes the money once it is authorized.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Capture {
    /// The channel, at once.
    Automatic,
    /// Upstream, when it asks for it.
    Manual,
}

impl MethodGroup {
    /// Every group.
    pub const ALL: [Self; 4] = [
        Self::CreditCard,
        Self::CustomerAccount,
        Self::StoredValueCard,
        Self::Other,
    ];

    /// The name in payloads and settings.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::CreditCard => "credit_card",
            Self::CustomerAccount => "customer_account",
            Self::StoredValueCard => "stored_value_card",
            Self::Other => "other",
        }
    }
}

impl Capture {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Automatic, Self::Manual];

    /// The name in payloads and in the database.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Automatic => "automatic",
            Self::Manual => "manual",
        }
    }
}

impl JobPayload for DeferredAuthorization {
    const KIND: JobKind = JobKind::DeferredAuthorization;
    const EXAMPLE: &'static str = include_str!("../schemas/deferred_authorization.example.json");

    fn validate(&self) -> Result<(), FieldError> {
        let Amount(total) = self.order.total;
        if total.is_negative() || total.is_zero() {
            return Err(FieldError::new(
                "order.total",
                format!("{total} is not more than zero"),
            ));
        }
        self.check_methods()?;
        match &self.callback_url {
            Some(url) => check_url(url).map_err(|problem| FieldError::new("callback_url", problem)),
            None => Ok(()),
        }
    }

    fn partition(&self) -> Option<String> {
        Some(self.order.merchant_id.to_string())
    }
}

impl DeferredAuthorization {
    fn check_methods(&self) -> Result<(), FieldError> {
        let count = self.methods.len();
        if count == 0 || count > METHODS_MAX {
            let problem = format!("an order has 1 to {METHODS_MAX} methods, not {count}");
            return Err(FieldError::new("methods", problem));
        }
        for (index, method) in self.methods.iter().enumerate() {
            let optional = [
                ("fixed_amount", method.fixed_amount),
                ("maximum_charge", method.maximum_charge),
            ];
            for (name, amount) in optional {
                self.check_amount(amount).map_err(|problem| {
                    FieldError::new(format!("methods[{index}].{name}"), problem)
                })?;
            }
        }
        let ids: Vec<_> = self
            .methods
            .iter()
            .map(|method| &method.method_id)
            .collect();
        if let Some((first, second)) = first_duplicate(&ids) {
            let problem = format!("is also the id of methods[{first}]");
            return Err(FieldError::new(
                format!("methods[{second}].method_id"),
                problem,
            ));
        }
        Ok(())
    }

    fn check_amount(&self, amount: Option<Amount>) -> Result<(), String> {
        let Some(Amount(money)) = amount else {
            return Ok(());
        };
        let (found, expected) = (money.currency(), self.order.total.0.currency());
        if found != expected {
            return Err(format!("is in {found}, but order.total is in {expected}"));
        }
        if money.is_negative() {
            return Err(format!("{money} is less than zero"));
        }
        Ok(())
    }
}

fn check_url(url: &str) -> Result<(), String> {
    check_name("a URL", URL_LENGTH_MAX, url).map_err(|error| error.to_string())?;
    let rest = url
        .strip_prefix("https://")
        .or_else(|| url.strip_prefix("http://"));
    let host = rest.and_then(|rest| rest.split(['/', '?', '#']).next());
    match host {
        None | Some("") => Err("a URL starts with https:// or http:// and a host".to_owned()),
        Some(host) if host.contains('@') => Err("a URL carries no user or password".to_owned()),
        Some(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example() -> DeferredAuthorization {
        DeferredAuthorization::parse(DeferredAuthorization::EXAMPLE).unwrap()
    }

    fn refusal(job: &DeferredAuthorization) -> String {
        job.validate().unwrap_err().to_string()
    }

    #[test]
    fn an_order_has_between_one_and_twenty_methods() {
        let mut job = example();
        let method = job.methods.remove(1);
        job.methods = vec![method; 21];
        assert_eq!(
            refusal(&job),
            "methods: an order has 1 to 20 methods, not 21"
        );
        job.methods.clear();
        assert_eq!(
            refusal(&job),
            "methods: an order has 1 to 20 methods, not 0"
        );
    }

    #[test]
    fn a_callback_names_a_host_and_no_password() {
        let mut job = example();
        for url in [
            "https://",
            "http:///path",
            "https://?a",
            "//host/",
            "HTTPS://host",
        ] {
            job.callback_url = Some(url.to_owned());
            assert_eq!(
                refusal(&job),
                "callback_url: a URL starts with https:// or http:// and a host"
            );
        }
        job.callback_url = Some("https://me:secret@host/".to_owned());
        assert_eq!(
            refusal(&job),
            "callback_url: a URL carries no user or password"
        );
        job.callback_url = Some("http://127.0.0.1:8080/done?by=a@b".to_owned());
        assert_eq!(job.validate(), Ok(()));
    }

    #[test]
    fn debug_output_shows_no_token() {
        assert!(!format!("{:?}", example()).contains("tok_"));
    }
}
