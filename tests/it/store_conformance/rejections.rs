//! Refused submissions: listed page by page with the beginning of what was sent, found whole.
#![cfg(test)]

use clearday::store::rejections::{self, PREVIEW_BYTES_MAX};

use crate::support::world::{World, on_both_databases, submission};

on_both_databases! {
    refusals_are_listed_from_the_newest_page_by_page,
    preview_holds_the_beginning_and_tells_the_length,
    refusal_is_found_whole_by_its_id,
}

/// Has a submission refused whose payload is this.
async fn refuse(world: &World, payload: &[u8]) {
    let batch = vec![submission("order_expiry", "k", payload)];
    let answers = world.engine("a").accept(batch).await.unwrap();
    assert_eq!(answers.len(), 1);
}

async fn refusals_are_listed_from_the_newest_page_by_page(world: World) {
    for payload in [b"first", b"other", b"third"] {
        refuse(&world, payload).await;
    }
    let mut tx = world.store.read().await.unwrap();
    let newest = rejections::list_previews(&mut tx, None, 2).await.unwrap();
    let before = newest.last().map(|preview| preview.rejection.id);
    let oldest = rejections::list_previews(&mut tx, before, 2).await.unwrap();
    let texts: Vec<&[u8]> = newest
        .iter()
        .chain(&oldest)
        .map(|preview| preview.rejection.raw.as_slice())
        .collect();
    assert_eq!(texts, [b"third", b"other", b"first"]);
}

async fn preview_holds_the_beginning_and_tells_the_length(world: World) {
    let limit = usize::try_from(PREVIEW_BYTES_MAX).unwrap();
    // Bytes, not characters: none of these is one.
    refuse(&world, &vec![0xFF; limit + 1]).await;
    let mut tx = world.store.read().await.unwrap();
    let previews = rejections::list_previews(&mut tx, None, 2).await.unwrap();
    let [preview] = previews.as_slice() else {
        panic!("{} previews", previews.len());
    };
    assert_eq!(preview.rejection.raw, vec![0xFF; limit]);
    assert_eq!(preview.raw_bytes, 2_001);
}

async fn refusal_is_found_whole_by_its_id(world: World) {
    refuse(&world, &vec![b'x'; 5_000]).await;
    let mut tx = world.store.read().await.unwrap();
    let kept = rejections::list(&mut tx, None, 1).await.unwrap().remove(0);
    let found = rejections::find(&mut tx, kept.id).await.unwrap();
    assert_eq!(found.as_ref(), Some(&kept));
    assert_eq!(kept.raw.len(), 5_000);
    let missing = rejections::find(&mut tx, uuid::Uuid::nil()).await.unwrap();
    assert_eq!(missing, None);
}
