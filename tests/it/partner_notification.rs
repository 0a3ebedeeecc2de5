//! What `partner_notification` promises: told once on each way, never after the money came, never
//! past the deadline, and a lost answer is asked about, sent under its own id, or let rest.
#![cfg(test)]

use chrono::TimeDelta;
use clearday::connectors::messages::UPSTREAM;
use clearday::connectors::sandbox::mailroom::ReceivedWebhook;
use clearday::connectors::sandbox::{Fault, Operation};
use clearday::domain::job::JobState;
use clearday::domain::notice::{Notice, NoticeState};
use clearday::domain::operation::OperationState;
use clearday::domain::order::OrderState;
use clearday::domain::partner::{Delivery, MessageChannel, Partner};
use clearday::engine::{Finished, Handler, Run, WorkError};
use clearday::http::JobDetail;
use clearday::store::{notices, operations};
use clearday::workers::Workbench;
use clearday::workers::messages::{self, Callback, deliver_callbacks};
use clearday_jobs::{JobId, JobKind, OrderNo};
use serde_json::json;

use crate::support::house::{House, MAILBOX, Mode, NUMBER, noon, notification_of, request_of};
use crate::support::in_both_modes;
use crate::support::mortal::MortalDaemon;
use crate::support::sandbox::reference;

in_both_modes! {
    a_partner_gets_one_sms_one_email_and_one_signed_webhook: told_everywhere;
    an_order_that_is_paid_before_suppresses_everything: paid_before;
    a_payment_suppresses_what_has_not_left_in_its_own_transaction: paid_between;
    a_lost_answer_about_an_sms_is_asked_about_and_one_sms_arrives: lost_sms_answer;
    an_sms_that_never_arrived_is_sent_after_the_gateways_window: lost_sms_request;
    a_mail_whose_answer_was_lost_is_unknown_and_never_sent_again: lost_mail_answer;
    a_webhook_is_sent_again_under_one_id_with_a_new_timestamp: failing_webhook;
    a_webhook_whose_answer_was_lost_is_the_same_operation: lost_webhook_answer;
    the_deadline_of_the_order_bounds_the_tries: deadline;
    fallback_takes_the_next_way_when_one_told_nobody: fallback;
    a_private_network_is_refused_and_says_which_setting_allows_it: private_network;
    ways_that_are_not_set_up_are_given_up_with_the_setting_that_makes_them: not_set_up;
    an_endpoint_that_is_gone_gets_nothing_more: gone;
    a_second_job_changes_nothing: second_job;
    a_withdrawal_reaches_who_was_told_and_ends_what_was_not: withdrawal;
    what_is_not_known_yet_is_waited_for: unknown_order;
    a_disabled_partner_is_told_nothing: disabled;
    no_address_is_shown_to_anybody: privacy;
    upstream_is_called_back_with_its_own_keys: callback;
}

async fn ask(house: &House, key: &str) -> JobId {
    let payload = request_of("O-1", "P-1");
    house
        .submit(JobKind::PartnerNotification, key, &payload)
        .await
}

/// The order and the partner that every story is about.
async fn set(house: &House, delivery: Delivery, channels: &[MessageChannel]) -> Partner {
    house
        .open_order_until("O-1", "O-1", noon() + TimeDelta::days(1))
        .await;
    let partner = house.partner("P-1", delivery).await;
    let partner = Partner {
        channels: channels.to_vec(),
        ..partner
    };
    house.keep_partner(&partner).await;
    partner
}

const EVERY_WAY: &[MessageChannel] = &[
    MessageChannel::Sms,
    MessageChannel::Email,
    MessageChannel::Webhook,
];

async fn done(house: &House, job: JobId) -> String {
    house.job_reaches(job, JobState::Done).await.note
}

async fn notices_of(house: &House, job: JobId) -> Vec<Notice> {
    let mut tx = house.store.read().await.unwrap();
    let tried = notices::of_job(&mut tx, job).await.unwrap();
    tried.into_iter().map(|(notice, _)| notice).collect()
}

/// Lets everything that waits come, up to a week after noon.
async fn let_a_week_pass(house: &mut House) {
    let until = noon() + TimeDelta::days(7);
    house.work_until(until, None, |_| {}).await;
}

fn fault(house: &House, operation: Operation, address: &str, fault: Fault) {
    let address = reference(address);
    house
        .mailroom
        .handle
        .queue_fault(operation, &address, fault);
}

async fn told_everywhere(house: House) {
    set(&house, Delivery::All, EVERY_WAY).await;
    let job = ask(&house, "ask").await;
    assert_eq!(
        done(&house, job).await,
        "sms sent, email sent, webhook delivered"
    );

    let mailroom = &house.mailroom.handle;
    let (sms, mails, calls) = (mailroom.sms(), mailroom.mails(), mailroom.webhooks());
    assert_eq!((sms.len(), mails.len(), calls.len()), (1, 1, 1));
    assert_eq!(
        (sms[0].to.as_str(), mails[0].to.as_str()),
        (NUMBER, MAILBOX)
    );
    assert!(
        sms[0].text.contains("https://pay.example/O-1"),
        "{:?}",
        sms[0]
    );
    assert!(!sms[0].text.contains("12.34"), "{:?}", sms[0]);
    assert!(calls[0].is_verified && calls[0].body.contains(r#""order_no":"O-1""#));

    let notices = notices_of(&house, job).await;
    for notice in &notices {
        assert_eq!(notice.attempts, 1);
    }
    let ids: Vec<String> = notices.iter().map(|notice| notice.id.to_string()).collect();
    assert_eq!([&sms[0].id, &calls[0].id], [&ids[0], &ids[2]]);
    assert!(
        mails[0]
            .content
            .contains(&format!("Message-ID: <{}@clearday.example>", ids[1]))
    );
    let mut tx = house.store.read().await.unwrap();
    let tries = operations::of_job(&mut tx, job).await.unwrap();
    drop(tx);
    let keys: Vec<&str> = tries.iter().map(|it| it.idempotency_key.as_str()).collect();
    let expected = [
        format!("send:sms:{}:1", ids[0]),
        format!("send:email:{}:1", ids[1]),
        format!("send:webhook:{}:1", ids[2]),
    ];
    assert_eq!(keys, expected);
    assert!(
        tries
            .iter()
            .all(|it| it.state == OperationState::Succeeded.as_str())
    );
    house.close().await;
}

async fn paid_before(house: House) {
    set(&house, Delivery::All, EVERY_WAY).await;
    house.order_becomes("O-1", OrderState::Paid).await;
    let job = ask(&house, "ask").await;
    assert_eq!(
        done(&house, job).await,
        "sms suppressed (the order is paid), email suppressed (the order is paid), \
         webhook suppressed (the order is paid)"
    );
    let mailroom = &house.mailroom.handle;
    assert!(mailroom.sms().is_empty() && mailroom.mails().is_empty());
    assert!(mailroom.webhooks().is_empty());
    house.close().await;
}

async fn paid_between(mut house: House) {
    set(&house, Delivery::All, EVERY_WAY).await;
    fault(&house, Operation::SendSms, NUMBER, Fault::Unavailable);
    fault(&house, Operation::SendMail, MAILBOX, Fault::Unavailable);
    fault(&house, Operation::CallWebhook, "P-1", Fault::Unavailable);
    let job = ask(&house, "ask").await;
    house.job_waits(job, "planned").await;
    house.order_becomes("O-1", OrderState::Paid).await;
    for notice in notices_of(&house, job).await {
        assert_eq!(notice.state, NoticeState::Suppressed);
        assert_eq!(
            (notice.attempts, notice.last_answer.as_str()),
            (1, "by the test")
        );
    }
    let_a_week_pass(&mut house).await;
    assert_eq!(house.job(job).await.state, JobState::Done);
    let mailroom = &house.mailroom.handle;
    assert!(mailroom.sms().is_empty() && mailroom.mails().is_empty());
    assert!(mailroom.webhooks().is_empty());
    house.close().await;
}

async fn lost_sms_answer(mut house: House) {
    set(&house, Delivery::All, &[MessageChannel::Sms]).await;
    fault(&house, Operation::SendSms, NUMBER, Fault::LostAnswer);
    let job = ask(&house, "ask").await;
    let waiting = house
        .job_waits(job, "sms unknown: its answer was lost")
        .await;
    assert_eq!(waiting.attempt, 0, "an unknown outcome burns no attempt");
    let_a_week_pass(&mut house).await;
    assert_eq!(done(&house, job).await, "sms delivered");
    let sms = house.mailroom.handle.sms();
    assert_eq!((sms.len(), sms[0].handed_over), (1, 1));
    house.close().await;
}

async fn lost_sms_request(mut house: House) {
    set(&house, Delivery::All, &[MessageChannel::Sms]).await;
    fault(&house, Operation::SendSms, NUMBER, Fault::LostRequest);
    let job = ask(&house, "ask").await;
    house.job_waits(job, "its answer was lost").await;
    house.clock.advance(TimeDelta::seconds(5));
    house.job_waits(job, "the gateway does not know it").await;
    assert!(house.mailroom.handle.sms().is_empty());
    let_a_week_pass(&mut house).await;
    assert_eq!(done(&house, job).await, "sms sent");
    let sms = house.mailroom.handle.sms();
    assert_eq!((sms.len(), sms[0].handed_over), (1, 1));
    // The first key is proved dead before the second one is used.
    assert!(sms[0].at >= noon() + TimeDelta::minutes(5), "{}", sms[0].at);
    let mut tx = house.store.read().await.unwrap();
    let tries = operations::of_job(&mut tx, job).await.unwrap();
    drop(tx);
    let states: Vec<_> = tries
        .iter()
        .map(|it| (it.generation, it.state.as_str()))
        .collect();
    assert_eq!(states, [(1, "declined"), (2, "succeeded")]);
    house.close().await;
}

async fn lost_mail_answer(mut house: House) {
    set(&house, Delivery::All, &[MessageChannel::Email]).await;
    fault(&house, Operation::SendMail, MAILBOX, Fault::LostAnswer);
    let job = ask(&house, "ask").await;
    assert_eq!(
        done(&house, job).await,
        "email unknown (its answer was lost)"
    );
    ask(&house, "again").await;
    let_a_week_pass(&mut house).await;
    assert_eq!(house.mailroom.handle.mails().len(), 1);
    let notices = notices_of(&house, job).await;
    assert_eq!(
        (notices[0].state, notices[0].attempts),
        (NoticeState::Unknown, 1)
    );
    house.close().await;
}

fn calls(house: &House, endpoint: &str) -> Vec<ReceivedWebhook> {
    let all = house.mailroom.handle.webhooks();
    let mine = all.into_iter().filter(|call| call.endpoint == endpoint);
    mine.collect()
}

async fn failing_webhook(mut house: House) {
    set(&house, Delivery::All, &[MessageChannel::Webhook]).await;
    fault(
        &house,
        Operation::CallWebhook,
        "P-1",
        Fault::ErrorAfterEffect,
    );
    let job = ask(&house, "ask").await;
    house.job_waits(job, "it answered 500").await;
    let_a_week_pass(&mut house).await;
    assert_eq!(done(&house, job).await, "webhook delivered");
    let calls = calls(&house, "P-1");
    assert_eq!(calls.len(), 2);
    assert_eq!(
        (&calls[0].id, &calls[0].body),
        (&calls[1].id, &calls[1].body)
    );
    assert!(calls[0].timestamp < calls[1].timestamp);
    assert!(calls.iter().all(|call| call.is_verified));
    house.close().await;
}

async fn lost_webhook_answer(mut house: House) {
    set(&house, Delivery::All, &[MessageChannel::Webhook]).await;
    for lost in [Fault::LostAnswer, Fault::LostRequest, Fault::Unavailable] {
        fault(&house, Operation::CallWebhook, "P-1", lost);
    }
    let job = ask(&house, "ask").await;
    house.job_waits(job, "webhook unknown").await;
    let_a_week_pass(&mut house).await;
    assert_eq!(done(&house, job).await, "webhook delivered");
    let calls = calls(&house, "P-1");
    assert_eq!(calls.len(), 2, "the first and the last got there");
    assert_eq!(calls[0].id, calls[1].id);
    let mut tx = house.store.read().await.unwrap();
    let tries = operations::of_job(&mut tx, job).await.unwrap();
    drop(tx);
    assert_eq!((tries.len(), tries[0].state.as_str()), (1, "succeeded"));
    assert_eq!(notices_of(&house, job).await[0].attempts, 4);
    house.close().await;
}

async fn deadline(mut house: House) {
    let partner = set(&house, Delivery::All, &[MessageChannel::Webhook]).await;
    house
        .open_order_until("O-2", "O-2", noon() + TimeDelta::hours(1))
        .await;
    // Nobody listens there.
    let closed = Partner {
        webhook_url: Some("http://127.0.0.1:9/".to_owned()),
        ..partner
    };
    house.keep_partner(&closed).await;
    let payload = request_of("O-2", "P-1");
    let job = house
        .submit(JobKind::PartnerNotification, "ask", &payload)
        .await;
    house.job_waits(job, "no connection came about").await;
    let_a_week_pass(&mut house).await;
    let note = done(&house, job).await;
    assert!(
        note.starts_with("webhook exhausted (given up after 4 tries: "),
        "{note}"
    );
    let last = house.timeline(job).await.pop().unwrap();
    assert!(last.occurred_at < noon() + TimeDelta::hours(1), "{last:?}");
    house.close().await;
}

async fn fallback(house: House) {
    let ways = [
        MessageChannel::Email,
        MessageChannel::Sms,
        MessageChannel::Webhook,
    ];
    set(&house, Delivery::Fallback, &ways).await;
    house.mailroom.handle.refuse(MAILBOX);
    let job = ask(&house, "ask").await;
    let note = done(&house, job).await;
    assert!(
        note.starts_with("email exhausted (channel email declined with refused: "),
        "{note}"
    );
    assert!(note.ends_with(", sms sent"), "{note}");
    assert_eq!(house.mailroom.handle.sms().len(), 1);
    assert!(house.mailroom.handle.webhooks().is_empty());
    house.close().await;
}

/// The same house with daemons that send by other settings.
async fn with_other_settings(mut house: House, change: impl Fn(&mut House)) -> House {
    for daemon in house.daemons.drain(..) {
        daemon
            .shutdown(std::time::Duration::from_secs(10))
            .await
            .unwrap();
    }
    change(&mut house);
    house.start_daemon();
    house
}

async fn private_network(house: House) {
    let house = with_other_settings(house, |house| {
        house.messages.webhooks.allow_networks.clear();
    })
    .await;
    set(&house, Delivery::All, &[MessageChannel::Webhook]).await;
    let job = ask(&house, "ask").await;
    assert_eq!(
        done(&house, job).await,
        "webhook exhausted (channel webhook declined with forbidden_target: 127.0.0.1 is no public address; \
         [webhooks] allow_networks may allow it)"
    );
    assert!(house.mailroom.handle.webhooks().is_empty());
    house.close().await;
}

async fn not_set_up(house: House) {
    let house = with_other_settings(house, |house| {
        (house.messages.sms, house.messages.email) = (None, None);
        house.messages.webhooks.keys_directory = None;
    })
    .await;
    set(&house, Delivery::All, EVERY_WAY).await;
    let job = ask(&house, "ask").await;
    assert_eq!(
        done(&house, job).await,
        "sms exhausted (no gateway carries SMS: set [sms] url), \
         email exhausted (no server carries e-mail: set [smtp] host and from), \
         webhook exhausted (no key signs webhooks: set [webhooks] keys_directory, with a file for each endpoint)"
    );
    house.close().await;
}

async fn gone(house: House) {
    set(&house, Delivery::All, &[MessageChannel::Webhook]).await;
    house.mailroom.handle.retire("P-1");
    let job = ask(&house, "ask").await;
    let note = done(&house, job).await;
    assert!(
        note.starts_with("webhook exhausted (channel webhook declined with gone"),
        "{note}"
    );
    let payload = notification_of("reminder", "O-1", "P-1");
    let reminder = house
        .submit(JobKind::PartnerNotification, "remind", &payload)
        .await;
    assert_eq!(
        done(&house, reminder).await,
        "webhook exhausted (its endpoint answered 410 and wants nothing more; give it another URL)"
    );
    assert_eq!(notices_of(&house, reminder).await[0].attempts, 0);
    house.close().await;
}

async fn second_job(mut house: House) {
    set(&house, Delivery::All, EVERY_WAY).await;
    fault(&house, Operation::SendSms, NUMBER, Fault::Unavailable);
    let first = ask(&house, "first").await;
    house.job_waits(first, "sms planned").await;
    let second = ask(&house, "second").await;
    assert_eq!(
        done(&house, second).await,
        format!("job {first} tells the partner already")
    );
    let_a_week_pass(&mut house).await;
    let story = "sms sent, email sent, webhook delivered";
    assert_eq!(done(&house, first).await, story);
    let third = ask(&house, "third").await;
    assert_eq!(done(&house, third).await, story);
    let mailroom = &house.mailroom.handle;
    let told = (
        mailroom.sms().len(),
        mailroom.mails().len(),
        mailroom.webhooks().len(),
    );
    assert_eq!(told, (1, 1, 1));
    house.close().await;
}

async fn withdrawal(mut house: House) {
    set(
        &house,
        Delivery::All,
        &[MessageChannel::Sms, MessageChannel::Email],
    )
    .await;
    fault(&house, Operation::SendMail, MAILBOX, Fault::Unavailable);
    let job = ask(&house, "ask").await;
    house.job_waits(job, "email planned").await;
    let payload = notification_of("withdrawn", "O-1", "P-1");
    let withdrawn = house
        .submit(JobKind::PartnerNotification, "withdraw", &payload)
        .await;
    assert_eq!(
        done(&house, withdrawn).await,
        "sms sent, email suppressed (nobody was told on this way)"
    );
    let_a_week_pass(&mut house).await;
    assert_eq!(
        done(&house, job).await,
        "sms sent, email suppressed (the request was withdrawn)"
    );
    let sms = house.mailroom.handle.sms();
    assert_eq!(sms.len(), 2);
    assert!(sms[1].text.contains("已撤回"), "{:?}", sms[1]);
    assert!(house.mailroom.handle.mails().is_empty());
    house.close().await;
}

async fn unknown_order(mut house: House) {
    house.partner("P-1", Delivery::All).await;
    let job = ask(&house, "ask").await;
    let waiting = house.job_waits(job, "order O-1 is not known yet").await;
    assert_eq!(waiting.attempt, 0, "waiting burns no attempt");
    house
        .open_order_until("O-1", "O-1", noon() + TimeDelta::days(1))
        .await;
    house
        .work_until(noon() + TimeDelta::minutes(1), None, |_| {})
        .await;
    assert_eq!(
        done(&house, job).await,
        "email sent, sms sent, webhook delivered"
    );

    let payload = request_of("O-404", "P-1").replace("03-04T12", "03-02T13");
    let never = house
        .submit(JobKind::PartnerNotification, "never", &payload)
        .await;
    let_a_week_pass(&mut house).await;
    assert_eq!(
        done(&house, never).await,
        "nobody was told: order O-404 was not known by the deadline"
    );
    house.close().await;
}

async fn disabled(house: House) {
    let partner = set(&house, Delivery::All, EVERY_WAY).await;
    let disabled = Partner {
        is_disabled: true,
        ..partner
    };
    house.keep_partner(&disabled).await;
    let job = ask(&house, "ask").await;
    let note = done(&house, job).await;
    assert!(
        note.contains("sms suppressed (partner P-1 is disabled)"),
        "{note}"
    );
    assert!(house.mailroom.handle.sms().is_empty());
    house.close().await;
}

async fn privacy(house: House) {
    let partner = set(&house, Delivery::All, EVERY_WAY).await;
    house.mailroom.handle.refuse(MAILBOX);
    let job = ask(&house, "ask").await;
    done(&house, job).await;
    let detail = JobDetail::load(house.engine(), job).await.unwrap().unwrap();
    let shown = serde_json::to_string(&detail).unwrap();
    for word in [
        NUMBER,
        MAILBOX,
        &partner.webhook_url.unwrap(),
        "/webhooks/",
        "代付",
        "王小明",
    ] {
        assert!(!shown.contains(word), "{word}: {shown}");
    }
    for word in [
        "+86138****1234",
        "w****@partner.example",
        "http://127.0.0.1:",
    ] {
        assert!(shown.contains(word), "{word}: {shown}");
    }
    house.close().await;
}

/// Carries out a job whose one effect is a callback, as a worker with more to do would end.
async fn call_back(
    bench: &Workbench,
    run: &Run,
    (order_no, url): (&OrderNo, &str),
) -> Result<Finished, WorkError> {
    let mut tx = run.begin().await?;
    let callback = Callback {
        order_no,
        url,
        event: "deferred_authorization.answered",
        step: "1",
        data: &json!({ "successful": "Y", "remaining_to_authorize": "0.00" }),
    };
    messages::callback(run, &mut tx, callback).await?;
    run.checkpoint(tx).await?;
    let delivery = deliver_callbacks(bench, run).await?;
    let tx = run.begin().await?;
    match delivery {
        messages::Delivery::Settled(story) => run.done(tx, &story).await,
        messages::Delivery::Waits(until, reason) => run.snooze(tx, until, &reason).await,
    }
}

async fn callback(house: House) {
    let mut house = with_other_settings(house, |house| {
        let (bench, url) = (house.bench(), house.mailroom.webhook_url(UPSTREAM));
        let handler = Handler::new(move |run: Run| {
            let (bench, url) = (bench.clone(), url.clone());
            Box::pin(async move {
                let order_no = "O-1".parse().unwrap();
                call_back(&bench, &run, (&order_no, &url)).await
            })
        });
        house.start_daemon_with(house.store.clone(), handler, TimeDelta::seconds(5));
    })
    .await;
    // Only the first of the two knows how to call back.
    let other = house.daemons.remove(1);
    other
        .shutdown(std::time::Duration::from_secs(10))
        .await
        .unwrap();
    // A payment has nothing to do with what upstream waits to hear.
    set(&house, Delivery::All, EVERY_WAY).await;
    fault(
        &house,
        Operation::CallWebhook,
        UPSTREAM,
        Fault::ErrorAfterEffect,
    );
    let job = ask(&house, "ask").await;
    house.job_waits(job, "it answered 500").await;
    house.order_becomes("O-1", OrderState::Paid).await;
    let_a_week_pass(&mut house).await;
    assert_eq!(done(&house, job).await, "webhook delivered");
    let calls = calls(&house, UPSTREAM);
    assert_eq!(calls.len(), 2);
    assert!(calls.iter().all(|call| call.is_verified));
    assert_eq!(
        (&calls[0].id, &calls[0].body),
        (&calls[1].id, &calls[1].body)
    );
    assert_eq!(
        calls[0].body,
        r#"{"data":{"remaining_to_authorize":"0.00","successful":"Y"},"timestamp":"2026-03-02T12:00:00Z","type":"deferred_authorization.answered"}"#
    );
    house.close().await;
}

/// Tells a partner everything with a daemon that dies after `steps`; returns how many it took.
async fn tell_while_dying(steps: u64) -> u64 {
    let mut house = House::without_daemons(Mode::Embedded).await;
    let mut mortal = MortalDaemon::start(&house, steps).await;
    set(&house, Delivery::All, EVERY_WAY).await;
    let payload = request_of("O-1", "P-1");
    house
        .submit(JobKind::PartnerNotification, "ask", &payload)
        .await;
    let until = noon() + TimeDelta::days(3);
    house
        .work_until(until, Some(&mut mortal), House::start_daemon)
        .await;
    let mailroom = &house.mailroom.handle;
    let sms = mailroom.sms();
    assert_eq!(sms.len(), 1, "step {steps}");
    // Its answer was lost with the daemon, and it was asked about.
    assert_eq!(sms[0].handed_over, 1, "step {steps}");
    assert!(mailroom.mails().len() <= 1, "step {steps}");
    let calls = mailroom.webhooks();
    assert!(!calls.is_empty(), "step {steps}");
    assert!(
        calls.iter().all(|call| call.id == calls[0].id),
        "step {steps}"
    );
    let lived = mortal.lived();
    mortal.kill();
    house.close().await;
    lived
}

/// Every third step from `first` on.
async fn tell_while_dying_from(first: u64) {
    let steps = tell_while_dying(u64::MAX).await;
    assert!(steps > 10, "{steps} steps are no story");
    for step in (first..steps).step_by(3) {
        tell_while_dying(step).await;
    }
}

mod nothing_is_sent_twice_whenever_the_daemon_dies {
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn at_every_third_step() {
        super::tell_while_dying_from(0).await;
    }
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn at_every_step_after_one() {
        super::tell_while_dying_from(1).await;
    }
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn at_every_step_before_one() {
        super::tell_while_dying_from(2).await;
    }
}
