//! A merchant who is to be paid to another account: what people see before they agree, and what
//! they agreed on.

use clearday_jobs::MerchantId;
use serde_json::{Value, json};

use super::merchant::{Merchant, Payee};

/// A change of account as it is shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BankAccountChange {
    /// Whose account.
    pub merchant_id: MerchantId,
    /// What people call them.
    pub name: String,
    /// The account that is paid until people agree.
    pub from: Payee,
    /// The account that is paid from then on.
    pub to: Payee,
    /// The version of the merchant with which it was asked: the same change asked again after a
    /// refusal is another request.
    pub version: i64,
}

impl BankAccountChange {
    /// The change that waits at a merchant, as it was written down.
    pub fn waiting_at(merchant: &Merchant) -> Option<Self> {
        let to = merchant.pending_payee.clone()?;
        Some(Self {
            merchant_id: merchant.merchant_id.clone(),
            name: merchant.name.clone(),
            from: merchant.payee.clone(),
            to,
            version: merchant.version,
        })
    }

    /// What people see.
    pub fn shown(&self) -> Value {
        json!({
            "merchant_id": self.merchant_id.as_str(),
            "name": self.name,
            "from": account(&self.from),
            "to": account(&self.to),
            "merchant_version": self.version,
        })
    }

    /// What people saw.
    pub fn read(shown: &str) -> Option<Self> {
        let shown: Value = serde_json::from_str(shown).ok()?;
        let text = |field: &str| Some(shown.get(field)?.as_str()?.to_owned());
        Some(Self {
            merchant_id: text("merchant_id")?.parse().ok()?,
            name: text("name")?,
            from: read_account(shown.get("from")?)?,
            to: read_account(shown.get("to")?)?,
            version: shown.get("merchant_version")?.as_i64()?,
        })
    }
}

fn account(payee: &Payee) -> Value {
    json!({
        "bank": payee.bank.as_str(),
        "account_no": payee.account_no,
        "account_name": payee.account_name,
    })
}

fn read_account(shown: &Value) -> Option<Payee> {
    let text = |field: &str| Some(shown.get(field)?.as_str()?.to_owned());
    Some(Payee {
        bank: text("bank")?.parse().ok()?,
        account_no: text("account_no")?,
        account_name: text("account_name")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn payee(account_no: &str) -> Payee {
        Payee {
            bank: "icbc".parse().unwrap(),
            account_no: account_no.to_owned(),
            account_name: "某某\"商贸".to_owned(),
        }
    }

    #[test]
    fn what_was_shown_is_read_back() {
        let change = BankAccountChange {
            merchant_id: "M-1".parse().unwrap(),
            name: "某某商贸".to_owned(),
            from: payee("6222 0000"),
            to: payee("6222 0001"),
            version: 3,
        };
        let shown = clearday_jobs::canonical_json(&change.shown());
        assert_eq!(
            shown,
            r#"{"from":{"account_name":"某某\"商贸","account_no":"6222 0000","bank":"icbc"},"merchant_id":"M-1","merchant_version":3,"name":"某某商贸","to":{"account_name":"某某\"商贸","account_no":"6222 0001","bank":"icbc"}}"#
        );
        assert_eq!(BankAccountChange::read(&shown), Some(change));
        for other in ["", "{}", r#"{"merchant_id":"M-1"}"#, "5"] {
            assert_eq!(BankAccountChange::read(other), None);
        }
    }
}
