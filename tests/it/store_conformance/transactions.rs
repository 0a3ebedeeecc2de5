//! What a transaction promises on both databases.
#![cfg(test)]

use clearday::store::{Store, StoreError, Tx, jobs};

use crate::support::servers::{ScratchFolder, TestDatabase};
use crate::support::world::{World, on_both_databases};

on_both_databases! {
    a_reading_transaction_cannot_write,
    a_reading_transaction_sees_one_state_of_the_database,
    a_transaction_that_is_dropped_leaves_nothing_and_holds_nothing,
    a_transaction_that_is_given_up_while_it_begins_leaves_nothing_open,
    a_closed_database_is_unavailable,
}

async fn a_reading_transaction_cannot_write(world: World) {
    let mut tx = world.store.read().await.unwrap();
    let refused = clearday::store::ticks::decided_until(&mut tx, "s", world.now()).await;
    assert!(matches!(refused, Err(StoreError::Other(_))), "{refused:?}");
}

async fn a_reading_transaction_sees_one_state_of_the_database(world: World) {
    let id = world.due_job("a").await;
    let mut tx = world.store.read().await.unwrap();
    let before = jobs::find(&mut tx, id).await.unwrap();
    world.engine("w").cancel(id, "ops").await.unwrap();
    assert_eq!(jobs::find(&mut tx, id).await.unwrap(), before);
    drop(tx);
    assert_ne!(Some(world.job(id).await), before);
}

async fn a_transaction_that_is_dropped_leaves_nothing_and_holds_nothing(world: World) {
    // More often than there are connections.
    for _ in 0..20 {
        let mut tx = world.begin().await;
        let decided = clearday::store::ticks::decided_until(&mut tx, "s", world.now()).await;
        assert_eq!(decided.unwrap(), world.now());
        drop(tx);
        world.advance_seconds(1);
    }
}

async fn a_transaction_that_is_given_up_while_it_begins_leaves_nothing_open(world: World) {
    // One connection, so that whatever was left open would be met.
    let store = Store::connect(world.database.url(), 1).await.unwrap();
    for turns in 0..200 {
        let begun = async {
            let tx = if turns % 2 == 0 {
                store.read().await
            } else {
                store.begin().await
            };
            drop(tx.unwrap());
        };
        let given_up = async {
            for _ in 0..turns {
                tokio::task::yield_now().await;
            }
        };
        tokio::select! {
            biased;
            () = begun => {}
            () = given_up => {}
        }
        let mut tx = store.begin().await.unwrap();
        let decided = clearday::store::ticks::decided_until(&mut tx, "s", world.now()).await;
        assert_eq!(decided.unwrap(), world.now());
        drop(tx);
    }
    store.close().await;
}

async fn a_closed_database_is_unavailable(world: World) {
    world.store.close().await;
    for refused in [world.store.begin().await, world.store.read().await] {
        let refused = refused.unwrap_err();
        assert!(refused.is_retryable(), "{refused:?}");
        assert_eq!(refused.to_string(), "the database is unavailable");
    }
    assert!(world.store.ping().await.is_err());
}

#[tokio::test]
async fn a_connection_to_postgres_is_used_again() {
    let world = World::postgres().await;
    let store = Store::connect(world.database.url(), 1).await.unwrap();
    let mut served_by = std::collections::BTreeSet::new();
    for _ in 0..20 {
        let mut tx = store.begin().await.unwrap();
        let Tx::Postgres(transaction) = &mut tx else {
            panic!("this is Postgres");
        };
        let asked = sqlx::query_scalar("SELECT pg_backend_pid()");
        let process: i32 = asked.fetch_one(&mut **transaction).await.unwrap();
        served_by.insert(process);
        tx.commit().await.unwrap();
    }
    assert_eq!(served_by.len(), 1);
    store.close().await;
}

#[tokio::test]
async fn a_file_may_lie_in_any_folder() {
    let folder = ScratchFolder::new("odd");
    let odd = folder.path().join("a b?c%20#d 数据");
    std::fs::create_dir(&odd).unwrap();
    let path = odd.join("clearday.db");
    let store = Store::open_file(&path).await.unwrap();
    store.migrate().await.unwrap();
    store.ping().await.unwrap();
    assert!(path.exists());
    store.close().await;
}

#[tokio::test]
async fn a_url_of_no_known_database_is_refused() {
    for url in ["", "mysql://h/db", "clearday.db", "redis://h"] {
        let refused = Store::connect(url, 1).await.unwrap_err();
        assert!(matches!(refused, StoreError::Url), "{url}");
    }
}

#[tokio::test]
async fn a_database_that_is_not_there_is_unavailable() {
    let gone = TestDatabase::postgres().await;
    let url = gone.url().to_owned();
    gone.close().await;
    let refused = Store::connect(&url, 1).await.unwrap_err();
    assert!(matches!(refused, StoreError::Other(_)), "{refused:?}");
    // Nobody listens on this port of the loopback network.
    let refused = Store::connect("postgres://nobody@127.0.0.1:1/none", 1).await;
    assert!(refused.unwrap_err().is_retryable());
}
