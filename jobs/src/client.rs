//! Enqueues jobs from a program of an upstream system: one `XADD` per job.
//!
//! An entry is as durable as the Redis that holds it. After an error the entry may or may not be there; enqueue again
//! with the same idempotency key, and the daemon takes the two for one job.

use std::fmt;
use std::time::Duration;

use redis::aio::{ConnectionManager, ConnectionManagerConfig};

use crate::{FieldError, JobPayload};

/// An upstream that waits longer than this for an append has a Redis that is down.
const TIMEOUT: Duration = Duration::from_secs(5);

/// A connection to the daemon's Redis; cheap to clone, and connects anew after it was lost.
#[derive(Clone)]
pub struct Client {
    connection: ConnectionManager,
}

/// Why a job was not enqueued.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The daemon would refuse the payload.
    #[error("the payload would be refused: {0}")]
    Payload(FieldError),
    /// The payload does not turn into JSON.
    #[error("could not write the payload")]
    Json(#[source] serde_json::Error),
    /// Redis could not be asked, or refused.
    #[error("could not {action}")]
    Redis {
        /// What was being done.
        action: &'static str,
        /// What Redis said.
        #[source]
        source: redis::RedisError,
    },
}

impl Client {
    /// Connects to a Redis such as `redis://127.0.0.1:6379/0`, within 5 seconds for every attempt.
    pub async fn connect(redis_url: &str) -> Result<Self, ClientError> {
        let failed = failed_to("connect to Redis");
        let config = ConnectionManagerConfig::new()
            .set_connection_timeout(Some(TIMEOUT))
            .set_response_timeout(Some(TIMEOUT))
            .set_number_of_retries(1);
        let client = redis::Client::open(redis_url).map_err(failed)?;
        let connection = ConnectionManager::new_with_config(client, config)
            .await
            .map_err(failed)?;
        Ok(Self { connection })
    }

    /// Appends a job to the stream of its kind and returns the id of the entry.
    ///
    /// The key names what is asked for, not the attempt to ask: the same key with the same payload is the same job.
    pub async fn enqueue<P: JobPayload>(
        &self,
        payload: &P,
        idempotency_key: &str,
    ) -> Result<String, ClientError> {
        payload.validate().map_err(ClientError::Payload)?;
        let payload = serde_json::to_string(payload).map_err(ClientError::Json)?;
        redis::cmd("XADD")
            .arg(P::KIND.submission_stream())
            .arg("*")
            .arg("payload")
            .arg(payload)
            .arg("idempotency_key")
            .arg(idempotency_key)
            .query_async(&mut self.connection.clone())
            .await
            .map_err(failed_to("append the job to its stream"))
    }
}

fn failed_to(action: &'static str) -> impl Fn(redis::RedisError) -> ClientError + Copy {
    move |source| ClientError::Redis { action, source }
}

impl fmt::Debug for Client {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Client").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use redis::AsyncCommands;
    use redis::streams::{StreamId, StreamRangeReply};

    use super::*;
    use crate::OrderExpiry;

    #[tokio::test]
    #[expect(
        clippy::print_stderr,
        reason = "a test that checks nothing has to say so"
    )]
    async fn a_job_is_one_entry_in_the_stream_of_its_kind() {
        let Ok(redis_url) = std::env::var("CLEARDAY_TEST_REDIS_URL") else {
            eprintln!("NOT CHECKED: CLEARDAY_TEST_REDIS_URL is not set");
            return;
        };
        let client = Client::connect(&redis_url).await.unwrap();
        let payload = OrderExpiry::parse(OrderExpiry::EXAMPLE).unwrap();
        let id = client.enqueue(&payload, "key-1").await.unwrap();

        let stream = "clearday:{order_expiry}";
        let mut connection = client.connection.clone();
        let found: StreamRangeReply = connection.xrange(stream, &id, &id).await.unwrap();
        let [StreamId { map, .. }] = found.ids.as_slice() else {
            panic!("{} entries", found.ids.len());
        };
        let entry: HashMap<String, String> = map
            .iter()
            .map(|(name, value)| {
                (
                    name.clone(),
                    redis::from_redis_value(value.clone()).unwrap(),
                )
            })
            .collect();
        assert_eq!(entry["idempotency_key"], "key-1");
        assert_eq!(OrderExpiry::parse(&entry["payload"]).unwrap(), payload);
        assert_eq!(entry.len(), 2);
        let _: usize = connection.xdel(stream, &[id]).await.unwrap();
    }

    #[tokio::test]
    async fn a_redis_that_is_down_is_an_error_with_its_cause() {
        let error = Client::connect("redis://127.0.0.1:1").await.unwrap_err();
        assert_eq!(error.to_string(), "could not connect to Redis");
        assert!(std::error::Error::source(&error).is_some());
    }
}
