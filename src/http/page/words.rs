//! The words on the pages: Chinese beside the API's own names, instants and durations for people.

use std::fmt;
use std::time::Duration;

use chrono::{DateTime, SecondsFormat, Utc};
use chrono_tz::Tz;
use clearday_jobs::JobKind;

use crate::domain::approval::{ApprovalAction, ApprovalState};
use crate::domain::job::JobState;
use crate::domain::settlement_run::SettlementState;

/// The kind in Chinese.
pub(super) const fn kind_label(kind: JobKind) -> &'static str {
    match kind {
        JobKind::DeferredAuthorization => "延迟授权",
        JobKind::OrderExpiry => "订单失效",
        JobKind::SettlementRun => "商户结算",
        JobKind::PartnerNotification => "伙伴通知",
        JobKind::Reconciliation => "对账",
    }
}

/// The state in Chinese.
pub(super) const fn state_label(state: JobState) -> &'static str {
    match state {
        JobState::Ready => "待执行",
        JobState::Running => "执行中",
        JobState::Cancelling => "取消中",
        JobState::Done => "已完成",
        JobState::Dead => "死信",
        JobState::Cancelled => "已取消",
    }
}

/// What is to be approved, in Chinese.
pub(super) const fn approval_action_label(action: ApprovalAction) -> &'static str {
    match action {
        ApprovalAction::Payout => "付款",
        ApprovalAction::OfflinePayment => "线下付款",
        ApprovalAction::Release => "退票重付",
        ApprovalAction::BankAccount => "变更收款账户",
    }
}

/// The state of a request in Chinese.
pub(super) const fn approval_state_label(state: ApprovalState) -> &'static str {
    match state {
        ApprovalState::Requested => "待审批",
        ApprovalState::Approved => "已批准",
        ApprovalState::Rejected => "已驳回",
        ApprovalState::Superseded => "已被取代",
    }
}

/// The state of a settlement in Chinese, for operations.
pub(super) const fn settlement_state_label(state: SettlementState) -> &'static str {
    match state {
        SettlementState::Calculated => "已出账",
        SettlementState::CarriedOver => "已结转",
        SettlementState::Approved => "已批准",
        SettlementState::Paid => "已付清",
    }
}

/// An event of a job's history in Chinese; one of a later release has none.
pub(super) fn event_label(event: &str) -> &'static str {
    match event {
        "accepted" => "接收",
        "leased" => "领取",
        "finished" => "完成",
        "snoozed" => "推迟",
        "retried" => "失败待重试",
        "buried" => "转入死信",
        "rescued" => "租约到期收回",
        "handed_back" => "交还",
        "cancelled" => "取消",
        "requeued" => "立即执行",
        "postponed" => "人工推迟",
        _ => "",
    }
}

/// How a message goes, in Chinese.
pub(super) fn channel_label(channel: &str) -> &'static str {
    match channel {
        "sms" => "短信",
        "email" => "邮件",
        "webhook" => "回调",
        _ => "",
    }
}

/// What a message says, in Chinese.
pub(super) fn purpose_label(purpose: &str) -> &'static str {
    match purpose {
        "pay_request" => "代付请求",
        "reminder" => "代付提醒",
        "withdrawn" => "代付撤回",
        "callback" => "结果回传",
        _ => "",
    }
}

/// Where a message is, in Chinese.
pub(super) fn notice_label(state: &str) -> &'static str {
    match state {
        "planned" => "待发送",
        "sending" => "发送中",
        "unknown" => "结果未知",
        "sent" => "已发送",
        "delivered" => "已送达",
        "suppressed" => "无需发送",
        "exhausted" => "未送达",
        _ => "",
    }
}

/// In what way two sides disagree, in Chinese.
pub(super) fn break_label(break_name: &str) -> &'static str {
    match break_name {
        "missing_ours" => "我方缺失",
        "missing_theirs" => "对方缺失",
        "amount_mismatch" => "金额不符",
        "fee_mismatch" => "手续费不符",
        "status_mismatch" => "状态不符",
        "currency_mismatch" => "币种不符",
        "duplicate_ours" => "我方重复",
        "duplicate_theirs" => "对方重复",
        _ => "",
    }
}

/// What a break is about, in Chinese.
pub(super) fn record_label(kind: &str) -> &'static str {
    match kind {
        "payment" => "支付",
        "refund" => "退款",
        "payout" => "付款",
        "deposit" => "入账",
        _ => "",
    }
}

/// A duration in its largest unit: exact enough to see whether something is stuck.
pub(super) fn duration_words(duration: Duration) -> String {
    const UNITS: [(u64, &str); 3] = [(24 * 60 * 60, "d"), (60 * 60, "h"), (60, "min")];
    let seconds = duration.as_secs();
    UNITS
        .into_iter()
        .find_map(|(length, unit)| {
            let count = seconds.checked_div(length)?;
            (count > 0).then(|| format!("{count} {unit}"))
        })
        .unwrap_or_else(|| format!("{seconds} s"))
}

/// An instant as people in one zone read it.
pub(super) struct Instant {
    /// RFC 3339, for programs and for the title.
    pub(super) exact: String,
    local: String,
}

impl Instant {
    pub(super) fn new(instant: DateTime<Utc>, zone: Tz) -> Self {
        let local = instant.with_timezone(&zone);
        Self {
            exact: local.to_rfc3339_opts(SecondsFormat::AutoSi, false),
            local: local.format("%Y-%m-%d %H:%M:%S").to_string(),
        }
    }
}

impl fmt::Display for Instant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.local)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_told_in_their_largest_unit() {
        let table = [
            (0, "0 s"),
            (59, "59 s"),
            (60, "1 min"),
            (7_199, "1 h"),
            (86_400 * 3, "3 d"),
        ];
        for (seconds, words) in table {
            assert_eq!(duration_words(Duration::from_secs(seconds)), words);
        }
    }

    #[test]
    fn an_instant_is_told_in_the_zone_of_the_readers() {
        let instant = Instant::new(
            "2026-03-02T16:30:00Z".parse().unwrap(),
            chrono_tz::Asia::Shanghai,
        );
        assert_eq!(instant.to_string(), "2026-03-03 00:30:00");
        assert_eq!(instant.exact, "2026-03-03T00:30:00+08:00");
    }
}
