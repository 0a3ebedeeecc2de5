//! Every job has the whole of its history: a row for each change, up to the state it is in.

use uuid::Uuid;

use super::findings::Findings;
use crate::store::verify_history::{StoredJob, jobs};
use crate::store::{StoreError, Tx};

pub(super) async fn check(tx: &mut Tx) -> Result<Findings, StoreError> {
    let mut findings = Findings::about("jobs");
    let mut after = Uuid::nil();
    loop {
        let page = jobs(tx, after).await?;
        for job in &page {
            findings.look();
            findings.expect(is_told(job), || {
                let (id, state, version) = (job.id, &job.state, job.version);
                format!("job {id} is {state} at version {version}, which its history does not tell")
            });
        }
        match page.last() {
            Some(last) => after = last.id,
            None => return Ok(findings),
        }
    }
}

fn is_told(job: &StoredJob) -> bool {
    job.first_version == Some(1)
        && job.last_version == Some(job.version)
        && job.events == job.version
        && job.last_state.as_ref() == Some(&job.state)
}
