//! A look at the broker, for `opspawn doctor`.

use super::{
    address::Address,
    link::{close, connect},
    topology::{self, DeclareError},
};

/// Connects, declares the queues, and says in a sentence how the broker is.
///
/// # Errors
/// Each defect, with its remedy.
pub async fn check(address: &Address, queues: &[String]) -> Result<String, Vec<String>> {
    let unusable = |why: String| {
        vec![format!(
            "the broker {address} cannot be used: {why}; see to the broker, or to `queue.url`. Work goes on \
             without it"
        )]
    };
    let connection = connect(address, "opspawn doctor").await.map_err(unusable)?;
    let mut defects = Vec::new();
    for queue in queues {
        match topology::declare(&connection, queue).await {
            Ok(()) => {}
            Err(DeclareError::Refused(why)) => defects.push(why),
            Err(DeclareError::Failed(error)) => {
                defects.extend(unusable(super::link::plainly(&error)));
                break;
            }
        }
    }
    close(&connection).await;
    match defects.is_empty() {
        true => Ok(format!(
            "{address} answers, and has the queues of {}",
            listed(queues)
        )),
        false => Err(defects),
    }
}

fn listed(queues: &[String]) -> String {
    let names: Vec<String> = queues.iter().map(|queue| format!("`{queue}`")).collect();
    names.join(", ")
}
