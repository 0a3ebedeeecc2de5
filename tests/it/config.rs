//! What a configuration promises: every mistake is named, with its key and where it was written.
#![cfg(test)]

use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clearday::config::{CatchUp, ConfigError, DEFAULT_TOML, LogFormat, Role, Settings};
use clearday::connectors::messages::SmtpTls;
use clearday::schedule;
use clearday_jobs::{Currency, JobKind};

use crate::support::servers::ScratchFolder;

const DIGEST: &str = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";

fn environment(variables: &[(&str, &str)]) -> Vec<(String, String)> {
    let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
    variables.iter().map(owned).collect()
}

fn load_variables(variables: &[(&str, &str)]) -> Result<Settings, ConfigError> {
    Settings::load(None, environment(variables))
}

/// Loads a text as the file `clearday.toml`.
fn load_text(text: &str) -> Result<Settings, ConfigError> {
    load_both(text, &[])
}

fn load_both(text: &str, variables: &[(&str, &str)]) -> Result<Settings, ConfigError> {
    let (_folder, path) = written(text);
    Settings::load(Some(&path), environment(variables))
}

fn written(text: &str) -> (ScratchFolder, PathBuf) {
    let folder = ScratchFolder::new("config");
    let path = folder.path().join("clearday.toml");
    fs::write(&path, text).unwrap();
    (folder, path)
}

/// The error with its causes, without the folder that the test used.
fn refusal(loaded: Result<Settings, ConfigError>) -> String {
    let error = loaded.unwrap_err();
    let mut words = error.to_string();
    let mut cause = error.source();
    while let Some(source) = cause {
        words = format!("{words}: {source}");
        cause = source.source();
    }
    match words.find("clearday.toml") {
        Some(at) => words.split_at(at).1.to_owned(),
        None => words,
    }
}

fn read(path: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap()
}

#[test]
fn nothing_has_to_be_set() {
    let settings =
        load_variables(&[("PATH", "/bin"), ("CLEARDAY_TEST_DATABASE_URL", "x")]).unwrap();
    assert!(settings.database.url.is_none() && settings.redis.url.is_none());
    assert_eq!(settings.http.listen.to_string(), "127.0.0.1:8080");
    assert_eq!(settings.jobs.lease, Duration::from_secs(20));
    assert_eq!(settings.jobs.concurrency, 16);
    assert_eq!(settings.policy().attempts_max, 25);
    assert_eq!(settings.log.format, LogFormat::Text);
    assert_eq!(
        settings.database_url().unwrap_err().to_string(),
        "`database.url` is not set: name a database, `sqlite://PATH` or `postgres://…`, in the file of --config \
         or in the variable CLEARDAY_DATABASE__URL"
    );
}

#[test]
fn the_file_lies_over_the_defaults_and_the_environment_over_the_file() {
    let file = "[http]\nlisten = \"127.0.0.1:1\"\n[jobs]\nattempts_max = 3\nconcurrency = 2\n";
    let variables = [
        ("CLEARDAY_JOBS__CONCURRENCY", "7"),
        ("clearday_log__format", "json"),
    ];
    let settings = load_both(file, &variables).unwrap();
    assert_eq!(settings.http.listen.port(), 1);
    assert_eq!(settings.jobs.attempts_max, 3);
    assert_eq!(settings.jobs.concurrency, 7);
    assert_eq!(settings.jobs.rescues_max, 5);
    assert_eq!(settings.log.format, LogFormat::Json);
}

#[test]
fn lists_are_read_from_the_file() {
    let settings = load_text(&format!(
        r#"
        [[people]]
        name = "wang"
        role = "approver"
        token_sha256 = "{DIGEST}"
        expires_at = 2027-01-01T00:00:00+08:00
        [[people]]
        name = "checkout"
        role = "operator"
        token_sha256 = "{other}"

        [[channels]]
        name = "sandbox"
        connector = "sandbox"
        url = "http://127.0.0.1:8090"
        request_timeout_seconds = 4

        [[schedules]]
        name = "daily"
        cron = "30 10 * * *"
        zone = "Asia/Shanghai"
        kind = "reconciliation"
        payload = '{{"version":1}}'
        "#,
        other = "00".repeat(32),
    ))
    .unwrap();
    let [wang, checkout] = settings.people.as_slice() else {
        panic!("{:?}", settings.people);
    };
    assert_eq!((wang.role, checkout.role), (Role::Approver, Role::Operator));
    let expiry = wang.expires_at.unwrap().to_rfc3339();
    assert_eq!(expiry, "2026-12-31T16:00:00+00:00");
    assert_eq!(checkout.token_sha256.0, [0; 32]);
    assert_eq!(settings.channels[0].connect_timeout, Duration::from_secs(3));
    assert_eq!(settings.channels[0].request_timeout, Duration::from_secs(4));
    assert_eq!(settings.schedules[0].kind, JobKind::Reconciliation);
    assert_eq!(settings.schedules[0].days_back, 0);
}

#[test]
fn a_limit_is_for_its_currency() {
    let settings = load_text(
        "[[approvals.two_people_from]]\ncurrency = \"CNY\"\namount = \"50000\"\n\
         [[approvals.two_people_from]]\ncurrency = \"JPY\"\namount = \"0\"\n",
    )
    .unwrap();
    let limit = |code: &str| {
        let limit = settings.approvals.limit(Currency::parse(code).unwrap());
        limit.map(clearday_jobs::Money::minor_units)
    };
    assert_eq!(limit("CNY"), Some(5_000_000));
    assert_eq!(limit("JPY"), Some(0));
    assert_eq!(limit("EUR"), None);
    let defaults = load_variables(&[]).unwrap();
    assert!(defaults.approvals.two_people_from.is_empty());
}

#[test]
fn every_default_is_documented_and_every_documented_key_is_read() {
    // A key that only the struct knows would be missed by the first, one that only the file knows by the second.
    let uncommented: String = DEFAULT_TOML
        .lines()
        .map(|line| match line.strip_prefix("# ") {
            Some(setting) if setting.starts_with('[') || setting.contains(" = ") => setting,
            _ => line,
        })
        .filter(|line| !line.contains("_file = "))
        .map(|line| line.replace("\"…\"", &format!("\"{DIGEST}\"")) + "\n")
        .collect();
    let settings = load_text(&uncommented).unwrap();
    let lists = (
        settings.people.len(),
        settings.channels.len(),
        settings.banks.len(),
        settings.schedules.len(),
        settings.approvals.two_people_from.len(),
    );
    assert_eq!(lists, (1, 1, 1, 2, 1));
    // Also as payloads with a date in them.
    schedule::plans(&settings.schedules).unwrap();
    for (name, value) in [
        ("CLEARDAY_DATABASE__CONNECTIONS_MAX", "1"),
        ("CLEARDAY_HTTP__LISTEN", "[::1]:80"),
        ("CLEARDAY_JOBS__LEASE_SECONDS", "3600"),
        ("CLEARDAY_JOBS__HEARTBEAT_SECONDS", "1"),
        ("CLEARDAY_JOBS__SWEEP_SECONDS", "1"),
        ("CLEARDAY_JOBS__ATTEMPTS_MAX", "1"),
        ("CLEARDAY_JOBS__RESCUES_MAX", "1"),
        ("CLEARDAY_JOBS__HANDLER_TIMEOUT_SECONDS", "1"),
        ("CLEARDAY_JOBS__CONCURRENCY", "1"),
        ("CLEARDAY_JOBS__SHUTDOWN_SECONDS", "1"),
        ("CLEARDAY_LOG__FORMAT", "text"),
        ("CLEARDAY_LOG__FILTER", "warn"),
        ("CLEARDAY_STATEMENTS__DIRECTORY", "."),
        ("CLEARDAY_SMTP__PORT", "25"),
        ("CLEARDAY_SMS__URL", "https://h"),
        ("CLEARDAY_WEBHOOKS__ALLOW_NETWORKS", "10.0.0.0/8, ::1"),
        ("CLEARDAY_REDIS__URL", "redis://h"),
        ("CLEARDAY_DATABASE__URL", "postgres://h/d"),
    ] {
        load_variables(&[(name, value)]).unwrap();
    }
}

#[test]
fn the_production_file_is_read_when_its_secrets_are_there() {
    let folder = ScratchFolder::new("config");
    let secret = |name: &str, text: &str| {
        let path = folder.path().join(name);
        fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    let database = secret("database", "postgres://clearday:sesame@db/clearday\n");
    let redis = secret("redis", " redis://:sesame@queue/0 ");
    let variables = [
        ("CLEARDAY_DATABASE__URL_FILE", database.as_str()),
        ("CLEARDAY_REDIS__URL_FILE", redis.as_str()),
    ];
    let settings = load_both(&read("config/production.toml"), &variables).unwrap();
    let urls = (settings.database.url.as_ref(), settings.redis.url.as_ref());
    let (Some(database), Some(redis)) = urls else {
        panic!("{settings:?}");
    };
    assert_eq!(database.reveal(), "postgres://clearday:sesame@db/clearday");
    assert_eq!(redis.reveal(), "redis://:sesame@queue/0");
    assert!(!format!("{settings:?}").contains("sesame"));
}

#[test]
fn a_higher_layer_names_the_database_by_either_key() {
    let below = "[database]\nurl_file = \"/nowhere\"\n";
    let settings = load_both(below, &[("CLEARDAY_DATABASE__URL", "sqlite://a.db")]).unwrap();
    assert_eq!(settings.database_url().unwrap().reveal(), "sqlite://a.db");

    let below = "[database]\nurl = \"sqlite://a.db\"\n";
    let refused = refusal(load_both(
        below,
        &[("CLEARDAY_DATABASE__URL_FILE", "/nowhere")],
    ));
    assert_eq!(
        refused,
        "the variable CLEARDAY_DATABASE__URL_FILE: `database.url_file`: could not read /nowhere: \
         No such file or directory (os error 2)"
    );
}

#[test]
fn a_bad_variable_is_refused_with_its_name() {
    #[rustfmt::skip]
    let table = [
        (("CLEARDAY_DATABASE_URL", "sqlite://a"),
         "the variable CLEARDAY_DATABASE_URL: `CLEARDAY_DATABASE_URL` is not a setting; did you mean `CLEARDAY_DATABASE__URL`?"),
        (("CLEARDAY_DATABSE__URL", "sqlite://a"),
         "the variable CLEARDAY_DATABSE__URL: `CLEARDAY_DATABSE__URL` is not a setting; did you mean `CLEARDAY_DATABASE__URL`?"),
        (("Clearday_Jobs__Lease", "20"),
         "the variable Clearday_Jobs__Lease: `Clearday_Jobs__Lease` is not a setting; did you mean `CLEARDAY_JOBS__LEASE_SECONDS`?"),
        (("CLEARDAY_PEOPLE__NAME", "wang"),
         "the variable CLEARDAY_PEOPLE__NAME: `CLEARDAY_PEOPLE__NAME` is not a setting; there is CLEARDAY_<SECTION>__<KEY> \
          for every key of config/default.toml that is not in a list"),
        (("CLEARDAY_JOBS__CONCURRENCY", "many"),
         "the variable CLEARDAY_JOBS__CONCURRENCY: `jobs.concurrency`: must be a whole number, not string \"many\""),
        (("CLEARDAY_JOBS__CONCURRENCY", "-1"),
         "the variable CLEARDAY_JOBS__CONCURRENCY: `jobs.concurrency`: must be a whole number up to 4294967295"),
        (("CLEARDAY_HTTP__LISTEN", "localhost"),
         "the variable CLEARDAY_HTTP__LISTEN: `http.listen`: must be an address and a port, like 127.0.0.1:8080, not \"localhost\""),
        (("CLEARDAY_REDIS__URL", ""),
         "the variable CLEARDAY_REDIS__URL: `redis.url`: is empty; leave it out, or give it a value"),
        (("CLEARDAY_DATABASE__URL", "mysql://h/d"),
         "the variable CLEARDAY_DATABASE__URL: `database.url`: must start with sqlite:// or postgres://"),
    ];
    for (variable, expected) in table {
        assert_eq!(refusal(load_variables(&[variable])), expected);
    }
    let twice = [
        ("CLEARDAY_LOG__FILTER", "info"),
        ("clearday_log__filter", "debug"),
    ];
    assert_eq!(
        refusal(load_variables(&twice)),
        "the variable clearday_log__filter: `log.filter`: another variable sets it too, in other letters; keep one"
    );
}

#[test]
fn a_bad_file_is_refused_with_its_key_and_line() {
    let person = |change: &str| format!("[[people]]\n{change}\n");
    let digest = format!("token_sha256 = \"{DIGEST}\"");
    let limit = |keys: &str| format!("[[approvals.two_people_from]]\n{keys}\n");
    let complete = format!("name = \"a\"\nrole = \"viewer\"\n{digest}");
    #[rustfmt::skip]
    let table = [
        ("[http]\nlisten = ", "clearday.toml line 2: not TOML: string values must be quoted, expected literal string"),
        ("[http]\nlisten = \"127.0.0.1:1\"\nlisten = \"127.0.0.1:1\"", "clearday.toml line 3: not TOML: duplicate key"),
        ("[http]\nlitsen = \"127.0.0.1:1\"", "clearday.toml line 2: `http.litsen` is not a setting; did you mean `http.listen`?"),
        ("[http]\nport = 1", "clearday.toml line 2: `http.port` is not a setting; there is listen"),
        ("\n[htpp]\nlisten = \"127.0.0.1:1\"", "clearday.toml line 2: `htpp` is not a setting; did you mean `http`?"),
        ("[printer]\nhost = \"h\"", "clearday.toml line 1: `printer` is not a setting; there is database, redis, http, jobs, retention, authorization, log, statements, approvals, notifications, smtp, sms, webhooks, people, channels, banks, schedules"),
        ("http = 5", "clearday.toml line 1: `http`: must be a section with keys of its own"),
        ("[people]\nname = \"a\"", "clearday.toml line 1: `people`: must be a list: its name in double brackets, once for each item"),
        ("[jobs]\nlease_seconds = \"20\"", "clearday.toml line 2: `jobs.lease_seconds`: must be a whole number, not string \"20\""),
        ("[jobs]\nlease_seconds = 2.5", "clearday.toml line 2: `jobs.lease_seconds`: must be a whole number, not another number"),
        ("[jobs]\nlease_seconds = 9999999999999999999", "clearday.toml line 2: `jobs.lease_seconds`: must be a whole number, not another number"),
        ("[jobs]\nlease_seconds = 0", "clearday.toml line 2: `jobs.lease_seconds`: must be 1 to 3600 seconds, not 0"),
        ("[jobs]\nlease_seconds = 10", "the embedded config/default.toml: `jobs.heartbeat_seconds`: must be at most a third of `jobs.lease_seconds` (10), so that a lease survives two failed renewals"),
        ("[jobs]\nheartbeat_seconds = 7", "clearday.toml line 2: `jobs.heartbeat_seconds`: must be at most a third of `jobs.lease_seconds` (20), so that a lease survives two failed renewals"),
        ("[jobs]\nsweep_seconds = 11", "clearday.toml line 2: `jobs.sweep_seconds`: must be 1 to 10 seconds, not 11"),
        ("[jobs]\nconcurrency = 1001", "clearday.toml line 2: `jobs.concurrency`: must be 1 to 1000, not 1001"),
        ("[log]\nformat = \"xml\"", "clearday.toml line 2: `log.format`: must be one of text, json, not \"xml\""),
        ("[log]\nformat = 1", "clearday.toml line 2: `log.format`: must be one of text, json"),
        ("[log]\nfilter = \"info,=\"", "clearday.toml line 2: `log.filter`: invalid filter directive"),
        ("[http]\nlisten = \"0.0.0.0:80\"", "clearday.toml line 2: `http.listen`: is open to other machines, but there are no [[people]]: name somebody, or listen on 127.0.0.1"),
        ("[database]\nurl = \"sqlite://a\"\nurl_file = \"/b\"", "clearday.toml line 3: `database.url_file`: `database.url` is set beside it; keep one of the two"),
        (&person("name = \"a\""), "clearday.toml line 1: `people[0]`: lacks `role`"),
        (&person("name = \"\""), "clearday.toml line 2: `people[0].name`: is empty; leave it out, or give it a value"),
        (&person("name = 5"), "clearday.toml line 2: `people[0].name`: must be a string, not integer `5`"),
        (&person("role = \"root\""), "clearday.toml line 2: `people[0].role`: must be one of viewer, operator, approver, admin, not \"root\""),
        (&person("token_sha256 = \"a-token\""), "clearday.toml line 2: `people[0].token_sha256`: must be the SHA-256 of the token, 64 hexadecimal digits: printf %s TOKEN | sha256sum"),
        (&person("token_sha256 = 4111"), "clearday.toml line 2: `people[0].token_sha256`: must be the SHA-256 of the token, 64 hexadecimal digits: printf %s TOKEN | sha256sum"),
        (&person("token = \"a-token\""), "clearday.toml line 2: `people[0].token` is not a setting; did you mean `people[0].token_sha256`?"),
        (&person("expires_at = 2027-01-01"), "clearday.toml line 2: `people[0].expires_at`: \"2027-01-01\" is not an instant; write RFC 3339 with a zone, like \"2026-03-01T09:00:00+08:00\""),
        (&person(&format!("{complete}\n[[people]]\n{complete}")), "clearday.toml line 6: `people[1].name`: is also the name of people[0]"),
        (&person(&format!("{complete}\n[[people]]\n{}", complete.replace("\"a\"", "\"A\"").replace(DIGEST, &"00".repeat(32)))), "clearday.toml line 6: `people[1].name`: is also the name of people[0]"),
        (&person(&complete.replace("\"a\"", "\" a\"")), "clearday.toml line 2: `people[0].name`: must have no blanks around it and no control character"),
        (&person(&complete.replace("\"a\"", "\"a\\u0000\"")), "clearday.toml line 2: `people[0].name`: must have no blanks around it and no control character"),
        (&person(&format!("{complete}\n[[people]]\n{}", complete.replace("\"a\"", "\"b\""))), "clearday.toml line 8: `people[1].token_sha256`: is also the token_sha256 of people[0]"),
        ("[approvals]\nlimit = 1", "clearday.toml line 2: `approvals.limit` is not a setting; there is two_people_from"),
        ("[approvals]\ntwo_people_from = \"50000\"", "clearday.toml line 2: `approvals.two_people_from`: must be a list: its name in double brackets, once for each item"),
        (&limit("currency = \"RMB\""), "clearday.toml line 2: `approvals.two_people_from[0].currency`: \"RMB\" is not an ISO 4217 currency code, like \"CNY\""),
        (&limit("currency = \"CNY\""), "clearday.toml line 1: `approvals.two_people_from[0]`: lacks `amount`"),
        (&limit("amount = \"1\""), "clearday.toml line 1: `approvals.two_people_from[0]`: lacks `currency`"),
        (&limit("amount = 50000"), "clearday.toml line 2: `approvals.two_people_from[0].amount`: must be a string, not integer `50000`"),
        (&limit("amount = \"\""), "clearday.toml line 2: `approvals.two_people_from[0].amount`: is empty; leave it out, or give it a value"),
        (&limit("currency = \"CNY\"\namount = \"50,000\""), "clearday.toml line 3: `approvals.two_people_from[0].amount`: \"50,000\" is not an amount; write it in digits, like \"12.34\""),
        (&limit("currency = \"CNY\"\namount = \"0.001\""), "clearday.toml line 3: `approvals.two_people_from[0].amount`: \"0.001\" is finer than the minor unit of CNY (2 decimal places)"),
        (&limit("currency = \"CNY\"\namount = \"-1\""), "clearday.toml line 3: `approvals.two_people_from[0].amount`: must not be negative"),
        (&limit("currency = \"CNY\"\namount = \"1\"\n[[approvals.two_people_from]]\ncurrency = \"CNY\"\namount = \"2\""), "clearday.toml line 5: `approvals.two_people_from[1].currency`: is also the currency of approvals.two_people_from[0]"),
        ("[[channels]]\nname = \"a b\"", "clearday.toml line 2: `channels[0].name`: a channel name is printable ASCII without spaces; character 2 is not"),
        ("[[channels]]\nname = \"a\"\nconnector = \"sandbox\"\nurl = \"127.0.0.1\"", "clearday.toml line 4: `channels[0].url`: must start with https:// or http://"),
        ("[[channels]]\nname = \"a\"\nconnector = \"sandbox\"\nurl = \"http://h\"\nrequest_timeout_seconds = 0", "clearday.toml line 5: `channels[0].request_timeout_seconds`: must be 1 to 3600 seconds, not 0"),
        ("[[schedules]]\nzone = \"Asia/Bejing\"", "clearday.toml line 2: `schedules[0].zone`: \"Asia/Bejing\" is not a time zone of the IANA data, like \"Asia/Shanghai\""),
        ("[[schedules]]\nkind = \"reconcile\"", "clearday.toml line 2: `schedules[0].kind`: must be one of deferred_authorization, order_expiry, settlement_run, partner_notification, reconciliation, not \"reconcile\""),
    ];
    for (text, expected) in table {
        assert_eq!(refusal(load_text(text)), expected, "{text}");
    }
}

#[test]
fn how_a_schedule_catches_up_is_said_once_and_for_all_ticks_only() {
    let schedule = |more: &str| {
        let text = "[[schedules]]\nname = \"d\"\ncron = \"0 1 * * *\"\nzone = \"UTC\"\nkind = \"settlement_run\"\n\
                    payload = '{\"version\":1,\"through\":\"{date}\"}'\n";
        load_text(&format!("{text}{more}"))
    };
    let settings = schedule("").unwrap();
    assert_eq!(settings.schedules[0].catch_up, CatchUp::Coalesce);
    let settings = schedule("catch_up = \"all\"\ncatch_up_max = 1000").unwrap();
    assert_eq!(settings.schedules[0].catch_up_max, Some(1_000));
    #[rustfmt::skip]
    let table = [
        ("catch_up = \"none\"", "clearday.toml line 7: `schedules[0].catch_up`: must be one of coalesce, all, skip, not \"none\""),
        ("catch_up = \"all\"\ncatch_up_max = 0", "clearday.toml line 8: `schedules[0].catch_up_max`: must be 1 to 1000, not 0"),
        ("catch_up = \"all\"\ncatch_up_max = 1001", "clearday.toml line 8: `schedules[0].catch_up_max`: must be 1 to 1000, not 1001"),
        ("catch_up_max = 5", "clearday.toml line 7: `schedules[0].catch_up_max`: belongs to `catch_up = \"all\"`"),
        ("catch_up = \"skip\"\ncatch_up_max = 5", "clearday.toml line 8: `schedules[0].catch_up_max`: belongs to `catch_up = \"all\"`"),
    ];
    for (more, expected) in table {
        assert_eq!(refusal(schedule(more)), expected);
    }
}

#[test]
fn a_missing_file_is_named() {
    let refused = refusal(Settings::load(Some(Path::new("no/such.toml")), []));
    assert_eq!(
        refused,
        "could not read the configuration no/such.toml: No such file or directory (os error 2)"
    );
}

const BANK: &str = "[[banks]]\nname = \"icbc\"\nconnector = \"sandbox\"\nurl = \"http://h\"\n\
                    account_no = \"6222\"\ncurrency = \"CNY\"\n";

#[test]
fn a_bank_needs_no_more_than_where_it_is_and_which_account_it_keeps() {
    let settings = load_text(BANK).unwrap();
    let bank = &settings.banks[0];
    assert_eq!(bank.cutoff.to_string(), "17:00:00");
    assert_eq!(bank.zone.name(), "Asia/Shanghai");
    assert_eq!(bank.payout_ceiling().unwrap(), None);
    assert_eq!(bank.processing_window, Duration::from_mins(5));
    let settings = load_text(&format!("{BANK}payout_max = \"50000\"\n")).unwrap();
    let ceiling = settings.banks[0].payout_ceiling().unwrap();
    assert_eq!(ceiling.unwrap().to_string(), "50000.00 CNY");
}

#[test]
fn what_is_wrong_with_a_bank_is_named() {
    let channel = "[[channels]]\nname = \"icbc\"\nconnector = \"sandbox\"\nurl = \"http://h\"\n";
    for (text, words) in [
        (
            format!("{BANK}{BANK}"),
            "line 8: `banks[1].name`: is also the name of banks[0]",
        ),
        (
            format!("{channel}{BANK}"),
            "line 6: `banks[0].name`: is also the name of channels[0]",
        ),
        (
            format!("{BANK}payout_max = \"0\"\n"),
            "line 7: `banks[0].payout_max`: \"0\" is not an amount; write it in digits, like \"12.34\"",
        ),
        (
            format!("{BANK}payout_max = \"1.001\"\n"),
            "line 7: `banks[0].payout_max`: \"1.001\" is finer than the minor unit of CNY (2 decimal places)",
        ),
        (
            format!("{BANK}cutoff = \"25:00\"\n"),
            "line 7: `banks[0].cutoff`: \"25:00\" is not a time of day; write hours and minutes, like \"17:00\"",
        ),
        (
            BANK.replace("CNY", "RMB"),
            "line 6: `banks[0].currency`: \"RMB\" is not an ISO 4217 currency code, like \"CNY\"",
        ),
        (
            BANK.replace("http://", "ftp://"),
            "line 4: `banks[0].url`: must start with https:// or http://",
        ),
    ] {
        assert_eq!(
            refusal(load_text(&text)),
            format!("clearday.toml {words}"),
            "{text}"
        );
    }
}

const MESSAGES: &str = "[notifications]\npay_link_template = \"https://pay.example/{order_no}\"\n\
                        [smtp]\nhost = \"mail.example\"\nfrom = \"clearday <pay@example.com>\"\n\
                        [sms]\nurl = \"https://sms.example/messages\"\ntoken = \"sesame\"\n\
                        [webhooks]\nallow_networks = [\"10.0.0.0/8\", \"fd00::/8\"]\n";

#[test]
fn no_message_goes_where_no_way_is_set_up() {
    let messages = load_variables(&[]).unwrap().messages();
    assert!(messages.sms.is_none() && messages.email.is_none());
    assert!(messages.webhooks.keys_directory.is_none());
    assert!(messages.webhooks.allow_networks.is_empty());
}

#[test]
fn the_ways_of_messages_are_set_up_by_their_sections() {
    let settings = load_text(MESSAGES).unwrap();
    let messages = settings.messages();
    let (sms, email) = (messages.sms.unwrap(), messages.email.unwrap());
    assert_eq!(
        (email.host.as_str(), email.port, email.tls),
        ("mail.example", 587, SmtpTls::Starttls)
    );
    assert_eq!(email.timeouts.request, Duration::from_secs(30));
    assert_eq!(sms.processing_window, Duration::from_mins(5));
    assert_eq!(sms.token.unwrap().reveal(), "sesame");
    assert_eq!(messages.webhooks.allow_networks.len(), 2);
    assert!(!format!("{settings:?}").contains("sesame"));

    let variables = [("CLEARDAY_WEBHOOKS__ALLOW_NETWORKS", "10.0.0.0/8, ::1")];
    let messages = load_variables(&variables).unwrap().messages();
    let networks = messages.webhooks.allow_networks;
    let shown: Vec<String> = networks.iter().map(ToString::to_string).collect();
    assert_eq!(shown, ["10.0.0.0/8", "::1/128"]);
}

#[test]
fn a_secret_of_a_message_comes_from_a_file() {
    let folder = ScratchFolder::new("config");
    let path = folder.path().join("password");
    fs::write(&path, "sesame\n").unwrap();
    let path = path.display().to_string();
    let variables = [
        ("CLEARDAY_SMTP__PASSWORD_FILE", path.as_str()),
        ("CLEARDAY_SMTP__USERNAME", "clearday"),
        ("CLEARDAY_SMS__TOKEN_FILE", &path),
    ];
    let settings = load_variables(&variables).unwrap();
    assert_eq!(settings.smtp.password.unwrap().reveal(), "sesame");
    assert_eq!(settings.sms.token.unwrap().reveal(), "sesame");
}

#[test]
fn what_is_wrong_with_a_way_of_messages_is_named() {
    #[rustfmt::skip]
    let table = [
        ("[notifications]\npay_link_template = \"https://pay.example/\"", "clearday.toml line 2: `notifications.pay_link_template`: must contain {order_no}"),
        ("[smtp]\nhost = \"h\"", "clearday.toml line 2: `smtp.host`: is set, but nobody sends: set `smtp.from`, like \"clearday <pay@example.com>\""),
        ("[smtp]\nport = 0", "clearday.toml line 2: `smtp.port`: must be 1 to 65535, not 0"),
        ("[smtp]\ntls = \"ssl\"", "clearday.toml line 2: `smtp.tls`: must be one of starttls, tls, none, not \"ssl\""),
        ("[smtp]\nusername = \"me\"", "clearday.toml line 2: `smtp.username`: signing in takes both `smtp.username` and `smtp.password_file`"),
        ("[smtp]\npassword = \"word\"", "clearday.toml line 2: `smtp.password`: signing in takes both `smtp.username` and `smtp.password_file`"),
        ("[smtp]\npassword = \"a\"\npassword_file = \"b\"", "clearday.toml line 3: `smtp.password_file`: `smtp.password` is set beside it; keep one of the two"),
        ("[smtp]\nconnect_timeout_seconds = 0", "clearday.toml line 2: `smtp.connect_timeout_seconds`: must be 1 to 3600 seconds, not 0"),
        ("[sms]\nurl = \"sms.example\"", "clearday.toml line 2: `sms.url`: must start with https:// or http://"),
        ("[sms]\nurl = \"\"", "clearday.toml line 2: `sms.url`: is empty; leave it out, or give it a value"),
        ("[sms]\nrequest_timeout_seconds = 4000", "clearday.toml line 2: `sms.request_timeout_seconds`: must be 1 to 3600 seconds, not 4000"),
        ("[webhooks]\nallow_networks = [\"10.0.0.0/8\", \"home\"]", "clearday.toml line 2: `webhooks.allow_networks`: \"home\" is not a network, like \"10.0.0.0/8\" or \"fd00::/8\""),
        ("[webhooks]\nallow_networks = [\"10.0.0.1/8\"]", "clearday.toml line 2: `webhooks.allow_networks`: \"10.0.0.1/8\" names an address within its network; write the network's first address"),
        ("[webhooks]\nallow_networks = 10", "clearday.toml line 2: `webhooks.allow_networks`: must be a list of networks, like [\"10.0.0.0/8\"], not integer `10`"),
        ("[webhooks]\nallow = []", "clearday.toml line 2: `webhooks.allow` is not a setting; did you mean `webhooks.allow_networks`?"),
    ];
    for (text, expected) in table {
        assert_eq!(refusal(load_text(text)), expected, "{text}");
    }
}

#[test]
fn the_sequence_of_charging_names_every_group_once() {
    let complete = "other, credit_card,customer_account, stored_value_card";
    let settings = load_variables(&[("CLEARDAY_AUTHORIZATION__SEQUENCE", complete)]).unwrap();
    let names: Vec<&str> = settings
        .authorization
        .sequence
        .iter()
        .map(|group| group.as_str())
        .collect();
    assert_eq!(
        names.join(", "),
        "other, credit_card, customer_account, stored_value_card"
    );
    let refused = "clearday.toml line 2: `authorization.sequence`: must name each of credit_card, \
                   customer_account, stored_value_card, other once, in the order of charging";
    for sequence in ["[\"other\"]", "[]"] {
        let text = format!("[authorization]\nsequence = {sequence}\n");
        assert_eq!(refusal(load_text(&text)), refused);
    }
    let unknown = "[authorization]\nsequence = [\"cash\"]\n";
    assert_eq!(
        refusal(load_text(unknown)),
        "clearday.toml line 2: `authorization.sequence[0]`: must be one of credit_card, customer_account, \
         stored_value_card, other, not \"cash\""
    );
    let nowhere = "[authorization]\nzone = \"Asia/Nowhere\"\n";
    assert!(refusal(load_text(nowhere)).contains("is not a time zone of the IANA data"));
}
