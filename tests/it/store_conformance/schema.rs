//! The two migration trees build the same schema, and its CHECKs list the states the domain knows.
#![cfg(test)]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use clearday::domain::approval::{ApprovalAction, ApprovalRule, ApprovalState};
use clearday::domain::authorization::AuthorizationState;
use clearday::domain::deferred_authorization::SuspensionCode;
use clearday::domain::fee::Rounding;
use clearday::domain::job::{JobEvent, JobState, Priority};
use clearday::domain::ledger::{Account, Booking, EntryEvent, FactKind, FactSource};
use clearday::domain::merchant::{CouponRule, FundsFlow, SettleBasis};
use clearday::domain::notice::{NoticePurpose, NoticeState};
use clearday::domain::operation::{OperationKind, OperationState};
use clearday::domain::order::{OrderState, ReferenceState};
use clearday::domain::partner::{Delivery, MessageChannel};
use clearday::domain::reconciliation::{BreakKind, BreakName, BreakState};
use clearday::domain::record::{CouponFunder, RecordKind, RecordStatus};
use clearday::domain::schedule::TickFate;
use clearday::domain::settlement_run::{ClaimState, InstructionState, PartState, SettlementState};
use clearday::store::{Store, StoreError};
use clearday_jobs::{Capture, JobKind, MethodGroup};
use sqlx::{Connection, PgConnection, SqliteConnection};

use crate::support::servers::TestDatabase;
use crate::support::world::World;

/// What a type of Postgres, or the order of bytes, is called on SQLite; `migrations/README.md` says why.
const TYPES: [(&str, &str); 7] = [
    ("UUID", "BLOB"),
    ("BYTEA", "BLOB"),
    ("TIMESTAMPTZ", "INTEGER"),
    ("BIGINT", "INTEGER"),
    ("SMALLINT", "INTEGER"),
    ("TEXT", "TEXT"),
    (r#""C""#, "BINARY"),
];

#[test]
fn both_trees_say_the_same_but_for_the_names_of_types() {
    let names = |dialect| -> Vec<String> {
        let name = |path: &PathBuf| path.file_name().unwrap().to_str().unwrap().to_owned();
        migrations(dialect).iter().map(name).collect()
    };
    assert_eq!(names("postgres"), names("sqlite"));
    for (postgres, sqlite) in migrations("postgres").iter().zip(migrations("sqlite")) {
        let translated: Vec<String> = statements(postgres)
            .iter()
            .map(|statement| translate(statement))
            .collect();
        assert_eq!(statements(&sqlite), translated, "{}", sqlite.display());
    }
}

/// Postgres' statement as SQLite's tree must have it.
fn translate(statement: &str) -> String {
    let translated: Vec<String> = statement
        .split(' ')
        .map(|word| {
            let (name, comma) = word
                .strip_suffix(',')
                .map_or((word, ""), |name| (name, ","));
            let found = TYPES.iter().find(|(postgres, _)| *postgres == name);
            found.map_or(word.to_owned(), |(_, sqlite)| format!("{sqlite}{comma}"))
        })
        .collect();
    let strict = if statement.starts_with("CREATE TABLE") {
        " STRICT"
    } else {
        ""
    };
    format!("{}{strict}", translated.join(" "))
}

#[tokio::test]
async fn both_databases_have_the_same_columns() {
    let (postgres, sqlite) = (World::postgres().await, World::sqlite().await);
    let on_postgres: Vec<(String, String, String, bool)> = sqlx::query_as(
        "SELECT table_name::TEXT, column_name::TEXT, UPPER(udt_name::TEXT), is_nullable = 'NO' \
         FROM information_schema.columns \
         WHERE table_schema = 'public' AND table_name <> '_sqlx_migrations'",
    )
    .fetch_all(&mut connect_postgres(&postgres).await)
    .await
    .unwrap();
    let on_sqlite: BTreeSet<(String, String, String, bool)> = sqlx::query_as(
        "SELECT t.name, c.name, c.type, c.\"notnull\" = 1 \
         FROM sqlite_schema t JOIN pragma_table_info(t.name) c \
         WHERE t.type = 'table' AND t.name <> '_sqlx_migrations'",
    )
    .fetch_all(&mut connect_sqlite(&sqlite).await)
    .await
    .unwrap()
    .into_iter()
    .collect();
    let translated: BTreeSet<(String, String, String, bool)> = on_postgres
        .into_iter()
        .map(|(table, column, name, not_null)| {
            let sqlite = match name.as_str() {
                "INT8" | "INT2" | "TIMESTAMPTZ" => "INTEGER",
                "UUID" | "BYTEA" => "BLOB",
                "TEXT" => "TEXT",
                other => panic!("{table}.{column} is {other}, which has no counterpart"),
            };
            (table, column, sqlite.to_owned(), not_null)
        })
        .collect();
    assert!(translated.len() > 50, "{translated:?}");
    assert_eq!(on_sqlite, translated);
}

/// Table, columns in order, unique, partial.
type Index = (String, String, bool, bool);

#[tokio::test]
async fn both_databases_have_the_same_keys_and_indexes() {
    let (postgres, sqlite) = (World::postgres().await, World::sqlite().await);
    let on_postgres: Vec<Index> = sqlx::query_as(
        "SELECT i.indrelid::regclass::TEXT, \
         (SELECT string_agg(a.attname::TEXT, ',' ORDER BY k.place) \
          FROM unnest(i.indkey::INT2[]) WITH ORDINALITY AS k (number, place) \
          JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.number), \
         i.indisunique, i.indpred IS NOT NULL \
         FROM pg_index i JOIN pg_class c ON c.oid = i.indrelid \
         WHERE c.relnamespace = 'public'::regnamespace AND c.relname <> '_sqlx_migrations'",
    )
    .fetch_all(&mut connect_postgres(&postgres).await)
    .await
    .unwrap();
    let on_sqlite: Vec<Index> = sqlx::query_as(
        "SELECT t.name, \
         (SELECT group_concat(c.name, ',') FROM (SELECT name FROM pragma_index_info(i.name) ORDER BY seqno) c), \
         i.\"unique\" = 1, i.partial = 1 \
         FROM sqlite_schema t JOIN pragma_index_list(t.name) i \
         WHERE t.type = 'table' AND t.name <> '_sqlx_migrations'",
    )
    .fetch_all(&mut connect_sqlite(&sqlite).await)
    .await
    .unwrap();
    let (mut on_postgres, mut on_sqlite) = (on_postgres, on_sqlite);
    on_postgres.sort();
    on_sqlite.sort();
    assert!(on_postgres.len() > 15, "{on_postgres:?}");
    assert_eq!(on_sqlite, on_postgres);
}

#[test]
fn checks_list_the_states_of_the_domain() {
    assert_listed("jobs", "state", JobState::ALL.iter().map(|it| it.as_str()));
    assert_listed("jobs", "kind", JobKind::ALL.map(JobKind::as_str));
    let events = JobEvent::ALL.iter().map(|it| it.as_str());
    let recorded = std::iter::once("accepted").chain(events);
    assert_listed("job_events", "event", recorded);
    let states = OperationState::ALL.iter().map(|it| it.as_str());
    assert_listed("operations", "state", states);
    let kinds = OperationKind::ALL.iter().map(|it| it.as_str());
    assert_listed("operations", "kind", kinds);
    assert_listed(
        "orders",
        "state",
        OrderState::ALL.iter().map(|it| it.as_str()),
    );
    let states = ReferenceState::ALL.iter().map(|it| it.as_str());
    assert_listed("payment_references", "state", states);
    let kinds = RecordKind::ALL.iter().map(|kind| kind.as_str());
    assert_listed("records", "kind", kinds.clone());
    assert_listed("settlement_items", "kind", kinds);
    let kinds = BreakKind::ALL.iter().map(|kind| kind.as_str());
    assert_listed("breaks", "kind", kinds);
    let states = BreakState::ALL.iter().map(|state| state.as_str());
    assert_listed("breaks", "state", states);
    let states = RecordStatus::ALL.iter().map(|status| status.as_str());
    assert_listed("records", "status", states);
    let funders = CouponFunder::ALL.iter().map(|funder| funder.as_str());
    assert_listed("records", "coupon_funder", funders);
    let states = NoticeState::ALL.iter().map(|state| state.as_str());
    assert_listed("notices", "state", states);
    let purposes = NoticePurpose::ALL.iter().map(|purpose| purpose.as_str());
    assert_listed("notices", "purpose", purposes);
    let channels = MessageChannel::ALL.iter().map(|channel| channel.as_str());
    assert_listed("notices", "channel", channels);
    let names = BreakName::ALL.iter().map(|name| name.as_str());
    assert_listed("breaks", "break_name", names);
    let states = SettlementState::ALL.iter().map(|state| state.as_str());
    assert_listed("settlements", "state", states);
    let states = PartState::ALL.iter().map(|state| state.as_str());
    assert_listed("settlement_parts", "state", states);
    let states = InstructionState::ALL.iter().map(|state| state.as_str());
    assert_listed("payout_instructions", "state", states);
    let states = ClaimState::ALL.iter().map(|state| state.as_str());
    assert_listed("offline_payments", "state", states);

    let actions = ApprovalAction::ALL.iter().map(|action| action.as_str());
    assert_listed("approvals", "action", actions);
    let rules = ApprovalRule::ALL.iter().map(|rule| rule.as_str());
    assert_listed("approvals", "rule", rules);
    let states = ApprovalState::ALL.iter().map(|state| state.as_str());
    assert_listed("approvals", "state", states);

    let events = EntryEvent::ALL.iter().map(|event| event.as_str());
    assert_listed("journal_entries", "event", events);
    let accounts = Account::ALL.iter().map(|account| account.as_str());
    assert_listed("postings", "debit_account", accounts.clone());
    assert_listed("postings", "credit_account", accounts);
    let kinds = FactKind::ALL.iter().map(|kind| kind.as_str());
    assert_listed("money_facts", "kind", kinds);
    let sources = FactSource::ALL.iter().map(|source| source.as_str());
    assert_listed("money_facts", "source", sources);
    let bookings = Booking::ALL.iter().map(|booking| booking.as_str());
    assert_listed("records", "booking", bookings);

    let bases = SettleBasis::ALL.iter().map(|basis| basis.as_str());
    assert_listed("merchants", "settle_basis", bases);
    let flows = FundsFlow::ALL.iter().map(|flow| flow.as_str());
    assert_listed("merchants", "funds_flow", flows);
    let rules = CouponRule::ALL.iter().map(|rule| rule.as_str());
    assert_listed("merchants", "coupons", rules);
    let rules = Rounding::ALL.iter().map(|rule| rule.as_str());
    assert_listed("fee_contracts", "rounding", rules);
    let deliveries = Delivery::ALL.iter().map(|delivery| delivery.as_str());
    assert_listed("partners", "delivery", deliveries);

    let fates = TickFate::ALL.iter().map(|fate| fate.as_str());
    assert_listed("ticks", "fate", fates);
    let states = AuthorizationState::ALL.iter().map(|state| state.as_str());
    assert_listed("authorizations", "state", states);
    let groups = MethodGroup::ALL.map(MethodGroup::as_str);
    assert_listed("authorizations", "method_group", groups);
    let captures = Capture::ALL.map(Capture::as_str);
    assert_listed("authorizations", "capture", captures);
    let codes = SuspensionCode::ALL.iter().map(|code| code.as_str());
    assert_listed("suspended_methods", "code", codes);

    let priorities = Priority::ALL.map(Priority::as_i16);
    let [first, .., last] = priorities;
    let check = format!("CHECK (priority BETWEEN {first} AND {last})");
    assert!(table("jobs").contains(&check), "{check}");
}

/// The names in `CHECK (column IN (…))`, in the order of the domain.
fn assert_listed<'a>(table_name: &str, column: &str, names: impl IntoIterator<Item = &'a str>) {
    let quoted: Vec<String> = names.into_iter().map(|name| format!("'{name}'")).collect();
    let check = format!("CHECK ({column} IN ({}))", quoted.join(", "));
    let table = table(table_name);
    assert!(
        table.contains(&check),
        "{table_name} has no\n{check}\n{table}"
    );
}

/// The statement that creates the table on SQLite, also where a table was made anew under another name and
/// took this one, with those that add columns to it; the other tree says the same.
fn table(name: &str) -> String {
    let all = migrations("sqlite")
        .iter()
        .flat_map(|path| statements(path))
        .collect::<Vec<_>>();
    let renaming = format!(" RENAME TO {name}");
    let renamed = all.iter().rev().find_map(|text| {
        text.strip_suffix(&renaming)
            .and_then(|text| text.strip_prefix("ALTER TABLE "))
    });
    let opening = format!("CREATE TABLE {} (", renamed.unwrap_or(name));
    let created = all.iter().find(|text| text.starts_with(&opening)).unwrap();
    let adding = format!("ALTER TABLE {name} ADD COLUMN ");
    let added = all.iter().filter(|text| text.starts_with(&adding));
    std::iter::once(created)
        .chain(added)
        .map(String::as_str)
        .collect::<Vec<_>>()
        .join("\n")
}

#[tokio::test]
async fn a_database_without_its_schema_is_refused_and_migrating_twice_is_fine() {
    for database in [TestDatabase::postgres().await, TestDatabase::sqlite()] {
        let store = Store::connect(database.url(), 4).await.unwrap();
        let refused = store.check_schema().await.unwrap_err();
        assert!(matches!(refused, StoreError::SchemaBehind), "{refused:?}");
        assert!(refused.to_string().contains("clearday migrate"));
        store.migrate().await.unwrap();
        store.check_schema().await.unwrap();
        store.migrate().await.unwrap();
    }
}

#[tokio::test]
async fn several_daemons_may_migrate_at_once() {
    for database in [TestDatabase::postgres().await, TestDatabase::sqlite()] {
        let connect = async || Store::connect(database.url(), 2).await.unwrap();
        let (a, b, c) = tokio::join!(connect(), connect(), connect());
        let (a_done, b_done, c_done) = tokio::join!(a.migrate(), b.migrate(), c.migrate());
        for done in [a_done, b_done, c_done] {
            done.unwrap();
        }
        a.check_schema().await.unwrap();
    }
}

fn migrations(dialect: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("migrations")
        .join(dialect);
    let mut paths: Vec<PathBuf> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    paths.sort();
    paths
}

/// The statements of a file, each on one line without comments.
fn statements(path: &Path) -> Vec<String> {
    let text = fs::read_to_string(path).unwrap();
    let without_comments: Vec<&str> = text
        .lines()
        .map(|line| line.split_once("--").map_or(line, |(code, _)| code))
        .collect();
    without_comments
        .join(" ")
        .split(';')
        .map(|statement| statement.split_whitespace().collect::<Vec<_>>().join(" "))
        .filter(|statement| !statement.is_empty())
        .collect()
}

async fn connect_postgres(world: &World) -> PgConnection {
    PgConnection::connect(world.database.url()).await.unwrap()
}

async fn connect_sqlite(world: &World) -> SqliteConnection {
    SqliteConnection::connect(world.database.url())
        .await
        .unwrap()
}
