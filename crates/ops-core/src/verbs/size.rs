//! Sizes: no value is larger than the cap.

use crate::{
    Append, Next, RunAction, RunCommand, TaskAction, TaskCommand,
    event::Resolution,
    ports::{Blob, NewTask, StoreError},
};

/// A number of bytes, within the cap.
///
/// # Errors
/// [`StoreError::TooLarge`].
pub fn size(bytes: usize, cap: u64) -> Result<(), StoreError> {
    let size = bytes as u64;
    match size > cap {
        true => Err(StoreError::TooLarge { size, cap }),
        false => Ok(()),
    }
}

/// The input of a new task.
///
/// # Errors
/// [`StoreError::TooLarge`].
pub fn task(new: &NewTask, cap: u64) -> Result<(), StoreError> {
    size(new.task.input.as_str().len(), cap)
}

/// A request about a task.
///
/// # Errors
/// [`StoreError::TooLarge`].
pub fn command(command: &TaskCommand, cap: u64) -> Result<(), StoreError> {
    match &command.action {
        TaskAction::Signal { payload, .. } => size(payload.to_string().len(), cap),
        TaskAction::Resolve { resolution, .. } => match resolution {
            Resolution::Done { output } => size(output.to_string().len(), cap),
            Resolution::Failed { message } => size(message.len(), cap),
            Resolution::Retry => Ok(()),
        },
        TaskAction::Cancel | TaskAction::Pause | TaskAction::Resume | TaskAction::Limit(_) => {
            Ok(())
        }
    }
}

/// A record of the holder of a lease, and the values that its events refer to. `digest` is SHA-256.
///
/// # Errors
/// [`StoreError::TooLarge`], or a digest that is not that of its value.
pub fn run(
    command: &RunCommand,
    blobs: &[Blob],
    cap: u64,
    digest: impl Fn(&[u8]) -> [u8; 32],
) -> Result<(), StoreError> {
    for blob in blobs {
        size(blob.bytes.len(), cap)?;
        if units::hex::encode(digest(&blob.bytes)) != blob.digest {
            let message = "the digest of a blob is not the SHA-256 of its bytes".to_owned();
            return Err(StoreError::Unavailable(message));
        }
    }
    let RunAction::Append(append) = &command.action else {
        return Ok(());
    };
    let Append {
        events,
        children,
        approvals,
        next,
        budget: _,
        provider: _,
        limits: _,
        expected_seq: _,
    } = append;
    for event in events {
        size(event.body.len(), cap)?;
    }
    for child in children {
        size(child.input.as_str().len(), cap)?;
    }
    for approval in approvals {
        size(approval.input.to_string().len(), cap)?;
        if let Some(preview) = &approval.details.preview {
            size(
                serde_json::to_string(preview).map_or(0, |text| text.len()),
                cap,
            )?;
        }
    }
    match next {
        Next::Complete { result } => size(result.as_str().len(), cap),
        Next::Fail { error, .. } => size(error.message.len(), cap),
        Next::Continue | Next::Wait(_) | Next::Cancelled => Ok(()),
    }
}
