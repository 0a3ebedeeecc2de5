//! Who is told what, as tables.
#![expect(
    clippy::arithmetic_side_effects,
    reason = "a test that overflows fails"
)]

use chrono::TimeDelta;
use clearday_jobs::{Currency, JobId, Money, OrderNo, Version};
use uuid::Uuid;

use super::*;
use crate::domain::notice::NoticeId;

fn noon() -> DateTime<Utc> {
    "2026-03-02T12:00:00Z".parse().unwrap()
}

fn asked(purpose: Purpose) -> PartnerNotification {
    PartnerNotification {
        version: Version,
        order_no: "O-1".parse().unwrap(),
        partner_id: "P-1".parse().unwrap(),
        purpose,
        deadline: noon() + TimeDelta::hours(3),
    }
}

fn order(state: OrderState) -> Order {
    let order_no: OrderNo = "O-1".parse().unwrap();
    Order {
        group_no: order_no.clone(),
        order_no,
        merchant_id: "M-1".parse().unwrap(),
        total: Money::from_minor(1_234, Currency::parse("CNY").unwrap()),
        state,
        version: 1,
        expires_at: noon() + TimeDelta::hours(1),
        updated_at: noon(),
    }
}

fn partner(delivery: Delivery) -> Partner {
    Partner {
        partner_id: "P-1".parse().unwrap(),
        name: "王小明".to_owned(),
        zone: chrono_tz::Asia::Shanghai,
        delivery,
        channels: vec![
            MessageChannel::Email,
            MessageChannel::Sms,
            MessageChannel::Webhook,
        ],
        sms_number: Some("+8613800001234".to_owned()),
        email: Some("wang@partner.example".to_owned()),
        webhook_url: Some("https://partner.example/hook".to_owned()),
        is_disabled: false,
    }
}

fn notice(purpose: NoticePurpose, channel: MessageChannel, state: NoticeState) -> Notice {
    let rests = !matches!(state, NoticeState::Planned | NoticeState::Sending);
    Notice {
        id: NoticeId(Uuid::nil()),
        job_id: JobId(Uuid::nil()),
        order_no: "O-1".parse().unwrap(),
        recipient: "P-1".to_owned(),
        purpose,
        step: String::new(),
        channel,
        target: format!("the {channel} that was told"),
        subject: String::new(),
        content: String::new(),
        state,
        version: 1,
        attempts: 1,
        look_at: (!rests).then(noon),
        deadline: noon(),
        last_answer: "because".to_owned(),
    }
}

/// A plan for these notices with everything else in order.
fn plan(
    asked: &PartnerNotification,
    order: Option<&Order>,
    partner: Option<&Partner>,
    notices: &[Notice],
) -> Plan {
    let pay_link = PayLinkTemplate::parse("https://pay.example/{order_no}").unwrap();
    let situation = Situation {
        asked,
        asked_at: noon(),
        order,
        partner,
        notices,
        seen_to_by: None,
        pay_link: Some(&pay_link),
    };
    decide_plan(&situation, noon())
}

fn shown(plan: &Plan) -> String {
    match plan {
        Plan::Wait(until, reason) => {
            format!("wait {} s: {reason}", (*until - noon()).num_seconds())
        }
        Plan::Write(new) => {
            let shown = |it: &NewNotice| match &it.end {
                None => it.channel.to_string(),
                Some((state, _)) => format!("{} {state}", it.channel),
            };
            let new: Vec<String> = new.iter().map(shown).collect();
            format!("write {}", new.join(", "))
        }
        Plan::Carry(Standing::Until(until)) => {
            format!("carry for {} min", (*until - noon()).num_minutes())
        }
        Plan::Carry(Standing::Over(reason)) => format!("over: {reason}"),
        Plan::Done(reason) => format!("done: {reason}"),
    }
}

#[test]
fn a_request_stands_only_while_its_order_waits_for_money() {
    let all = partner(Delivery::All);
    let told = [
        NoticePurpose::PayRequest,
        NoticePurpose::Reminder,
        NoticePurpose::Withdrawn,
    ]
    .map(|purpose| notice(purpose, MessageChannel::Sms, NoticeState::Planned));
    let mut table = Vec::new();
    for state in OrderState::ALL {
        let order = order(state);
        let plans = [
            (Purpose::PayRequest, 0),
            (Purpose::Reminder, 1),
            (Purpose::Withdrawn, 2),
        ]
        .map(|(purpose, at)| {
            let known = &told[at..=at];
            shown(&plan(&asked(purpose), Some(&order), Some(&all), known))
        });
        table.push(format!("{state}: {}", plans.join("; ")));
    }
    // A request, a reminder, a withdrawal.
    assert_eq!(
        table.join("\n"),
        "\
open: carry for 60 min; carry for 60 min; carry for 180 min
in_review: carry for 180 min; carry for 180 min; carry for 180 min
expiring: over: the order's time is over; over: the order's time is over; carry for 180 min
expired: over: the order's time is over; over: the order's time is over; carry for 180 min
paid: over: the order is paid; over: the order is paid; carry for 180 min
cancelled: over: the order was cancelled; over: the order was cancelled; carry for 180 min"
    );
}

#[test]
fn all_channels_are_told_at_once_and_each_once() {
    let (asked, order, all) = (
        asked(Purpose::PayRequest),
        order(OrderState::Open),
        partner(Delivery::All),
    );
    let first = plan(&asked, Some(&order), Some(&all), &[]);
    assert_eq!(shown(&first), "write email, sms, webhook");
    let one = notice(
        NoticePurpose::PayRequest,
        MessageChannel::Sms,
        NoticeState::Exhausted,
    );
    let again = plan(&asked, Some(&order), Some(&all), &[one]);
    assert_eq!(shown(&again), "carry for 60 min");
}

#[test]
fn fallback_tells_the_next_channel_when_the_one_before_told_nobody() {
    let (asked, paid) = (asked(Purpose::PayRequest), order(OrderState::Paid));
    let order = order(OrderState::Open);
    let fallback = partner(Delivery::Fallback);
    let first = plan(&asked, Some(&order), Some(&fallback), &[]);
    assert_eq!(shown(&first), "write email");
    let mut table = Vec::new();
    for state in NoticeState::ALL {
        let email = notice(NoticePurpose::PayRequest, MessageChannel::Email, *state);
        let next = plan(&asked, Some(&order), Some(&fallback), &[email]);
        table.push(format!("{state}: {}", shown(&next)));
    }
    assert_eq!(
        table.join("\n"),
        "\
planned: carry for 60 min
sending: carry for 60 min
unknown: write sms
sent: carry for 60 min
delivered: carry for 60 min
suppressed: carry for 60 min
exhausted: write sms"
    );
    let failed = [
        MessageChannel::Email,
        MessageChannel::Sms,
        MessageChannel::Webhook,
    ]
    .map(|channel| notice(NoticePurpose::PayRequest, channel, NoticeState::Exhausted));
    let end = plan(&asked, Some(&order), Some(&fallback), &failed);
    assert_eq!(shown(&end), "carry for 60 min");
    let over = plan(&asked, Some(&paid), Some(&fallback), &failed[..1]);
    assert_eq!(shown(&over), "over: the order is paid");
}

#[test]
fn a_withdrawal_is_told_where_the_request_was_told_and_ends_the_request() {
    let (order, all) = (order(OrderState::Open), partner(Delivery::All));
    let told = notice(
        NoticePurpose::PayRequest,
        MessageChannel::Sms,
        NoticeState::Sent,
    );
    let given_up = notice(
        NoticePurpose::Reminder,
        MessageChannel::Email,
        NoticeState::Exhausted,
    );
    let withdrawal = asked(Purpose::Withdrawn);
    let planned = plan(&withdrawal, Some(&order), Some(&all), &[told, given_up]);
    assert_eq!(
        shown(&planned),
        "write sms, email suppressed, webhook suppressed"
    );
    let Plan::Write(new) = planned else {
        panic!("{planned:?}");
    };
    assert_eq!(new[0].target, "the sms that was told");

    let nobody = plan(&withdrawal, Some(&order), Some(&all), &[]);
    assert_eq!(
        shown(&nobody),
        "write sms suppressed, email suppressed, webhook suppressed"
    );

    let withdrawn = notice(
        NoticePurpose::Withdrawn,
        MessageChannel::Sms,
        NoticeState::Suppressed,
    );
    let waiting = notice(
        NoticePurpose::PayRequest,
        MessageChannel::Sms,
        NoticeState::Planned,
    );
    let request = asked(Purpose::PayRequest);
    let over = plan(&request, Some(&order), Some(&all), &[withdrawn, waiting]);
    assert_eq!(shown(&over), "over: the request was withdrawn");
}

#[test]
fn what_is_not_known_yet_is_waited_for_until_the_deadline() {
    let (request, order, all) = (
        asked(Purpose::PayRequest),
        order(OrderState::Open),
        partner(Delivery::All),
    );
    assert_eq!(
        shown(&plan(&request, None, Some(&all), &[])),
        "wait 5 s: order O-1 is not known yet: import it with `clearday import --type orders`"
    );
    assert_eq!(
        shown(&plan(&request, Some(&order), None, &[])),
        "wait 5 s: partner P-1 is not known yet: import it with `clearday import --type partners`"
    );
    let late = PartnerNotification {
        deadline: noon(),
        ..request
    };
    assert_eq!(
        shown(&plan(&late, None, Some(&all), &[])),
        "done: nobody was told: order O-1 was not known by the deadline"
    );
}

#[test]
fn a_disabled_partner_and_a_missing_link_are_told_from_a_request_that_stands() {
    let (asked, order) = (asked(Purpose::PayRequest), order(OrderState::Open));
    let disabled = Partner {
        is_disabled: true,
        ..partner(Delivery::All)
    };
    let waiting = notice(
        NoticePurpose::PayRequest,
        MessageChannel::Sms,
        NoticeState::Planned,
    );
    let over = plan(&asked, Some(&order), Some(&disabled), &[waiting]);
    assert_eq!(shown(&over), "over: partner P-1 is disabled");

    let all = partner(Delivery::All);
    let situation = Situation {
        asked: &asked,
        asked_at: noon(),
        order: Some(&order),
        partner: Some(&all),
        notices: &[],
        seen_to_by: None,
        pay_link: None,
    };
    let unlinked = decide_plan(&situation, noon());
    assert_eq!(
        shown(&unlinked),
        "write email exhausted, sms exhausted, webhook exhausted"
    );
    let elsewhere = Situation {
        seen_to_by: Some(JobId(Uuid::nil())),
        ..situation
    };
    assert_eq!(
        shown(&decide_plan(&elsewhere, noon())),
        "done: job 00000000-0000-0000-0000-000000000000 tells the partner already"
    );
}

#[test]
fn a_text_message_names_no_amount_and_nobody() {
    let (order, all) = (order(OrderState::Open), partner(Delivery::All));
    for purpose in [Purpose::PayRequest, Purpose::Reminder] {
        let Plan::Write(new) = plan(&asked(purpose), Some(&order), Some(&all), &[]) else {
            panic!("nothing to write");
        };
        let [email, sms, webhook] = &new[..] else {
            panic!("{new:?}")
        };
        for word in ["12.34", "CNY", "王", "P-1", "M-1"] {
            assert!(!sms.content.contains(word), "{word}: {}", sms.content);
        }
        assert!(sms.content.contains("https://pay.example/O-1"));
        assert!(email.content.contains("12.34 CNY") && email.subject.contains("O-1"));
        assert!(webhook.content.contains(r#""amount":"12.34""#));
    }
}

#[test]
fn the_texts_are_chinese_with_english_below() {
    let (order, all) = (order(OrderState::Open), partner(Delivery::All));
    let told = notice(
        NoticePurpose::PayRequest,
        MessageChannel::Sms,
        NoticeState::Sent,
    );
    let text = |purpose, notices: &[Notice]| {
        let Plan::Write(new) = plan(&asked(purpose), Some(&order), Some(&all), notices) else {
            panic!("nothing to write");
        };
        let sms = new.into_iter().find(|it| it.channel == MessageChannel::Sms);
        sms.unwrap().content
    };
    assert_eq!(
        text(Purpose::PayRequest, &[]),
        "您收到一个代付请求，请在2026-03-02 21:00前处理：https://pay.example/O-1\n\
         Somebody asks you to pay. Until 2026-03-02 21:00: https://pay.example/O-1"
    );
    assert_eq!(
        text(Purpose::Reminder, &[]),
        "代付请求仍待处理，截止2026-03-02 21:00：https://pay.example/O-1\n\
         A request to pay still waits. Until 2026-03-02 21:00: https://pay.example/O-1"
    );
    assert_eq!(
        text(Purpose::Withdrawn, &[told]),
        "订单O-1的代付请求已撤回，无需付款。\n\
         The request to pay order O-1 was withdrawn; nothing is to be paid."
    );
}

#[test]
fn a_webhook_says_what_it_is_about_as_the_standard_recommends() {
    let (order, all) = (order(OrderState::Open), partner(Delivery::All));
    let Plan::Write(new) = plan(&asked(Purpose::PayRequest), Some(&order), Some(&all), &[]) else {
        panic!("nothing to write");
    };
    assert_eq!(
        new[2].content,
        r#"{"data":{"order_no":"O-1","partner_id":"P-1","pay_link":"https://pay.example/O-1","pay_until":"2026-03-02T13:00:00Z","total":{"amount":"12.34","currency":"CNY"}},"timestamp":"2026-03-02T12:00:00Z","type":"partner.pay_request"}"#
    );
}

#[test]
fn the_story_of_a_job_names_each_channel() {
    let notices = [
        notice(
            NoticePurpose::PayRequest,
            MessageChannel::Sms,
            NoticeState::Delivered,
        ),
        notice(
            NoticePurpose::PayRequest,
            MessageChannel::Email,
            NoticeState::Exhausted,
        ),
    ];
    assert_eq!(
        story_of(&notices),
        "sms delivered, email exhausted (because)"
    );
    assert_eq!(story_of(&[]), "there was nothing to send");
}
