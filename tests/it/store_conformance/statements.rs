//! Every fixed statement of the store is understood by both databases.
//!
//! `query!` checks against one database only; this takes its place. Statements that are built from
//! lists are run by the other files here.
#![cfg(test)]

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use clearday::store::all_statements;
use sqlx::{Connection, Executor, PgConnection, SqlStr, SqliteConnection};

use crate::support::world::World;

#[tokio::test]
async fn every_statement_prepares_on_postgres() {
    let world = World::postgres().await;
    let mut connection = PgConnection::connect(world.database.url()).await.unwrap();
    for (file, name, statement) in all_statements() {
        let text = SqlStr::from_static(statement.postgres);
        if let Err(error) = (&mut connection).prepare(text).await {
            panic!("store/{file}.rs {name}: {error}\n{}", statement.postgres);
        }
    }
}

#[tokio::test]
async fn every_statement_prepares_on_sqlite() {
    let world = World::sqlite().await;
    let mut connection = SqliteConnection::connect(world.database.url())
        .await
        .unwrap();
    for (file, name, statement) in all_statements() {
        let text = SqlStr::from_static(statement.sqlite);
        if let Err(error) = (&mut connection).prepare(text).await {
            panic!("store/{file}.rs {name}: {error}\n{}", statement.sqlite);
        }
    }
}

#[test]
fn no_file_of_the_store_is_left_out() {
    let store = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/store");
    let with_statements: BTreeSet<String> = fs::read_dir(store)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| {
            let text = fs::read_to_string(path).unwrap();
            text.lines().any(|line| line.starts_with("statements! {"))
        })
        .map(|path| path.file_stem().unwrap().to_str().unwrap().to_owned())
        .collect();
    let walked: BTreeSet<String> = all_statements()
        .into_iter()
        .map(|(file, _, _)| file.to_owned())
        .collect();
    assert_eq!(walked, with_statements);
}
