//! The images of tools' results that a request shows: the driver reads them from the blob store before the
//! call, and keeps them for the next call.

use std::{collections::BTreeMap, sync::Arc};

use super::Driver;
use crate::model::{Image, Message, Request};

/// The most images of results in one request, the newest images.
const MAX_IMAGES: usize = 16;
/// The most bytes of them together: providers take requests of some 20 MB, and base64 adds a third.
const MAX_BYTES: u64 = 12 << 20;

/// Images by the digest of their bytes.
pub(crate) type Images = BTreeMap<String, Arc<Image>>;

impl Driver<'_> {
    /// Puts the images of results into a request, as far as the request has room for them. An unreadable
    /// image is left out with a note, and the run goes on.
    pub(super) async fn show_images(&mut self, request: &mut Request) {
        let before = std::mem::take(&mut self.images);
        let mut left = MAX_BYTES;
        for message in request.messages.iter().rev() {
            let Message::Tool { images, .. } = &**message else {
                continue;
            };
            for media in images {
                if self.images.contains_key(&media.digest) {
                    continue;
                }
                if self.images.len() == MAX_IMAGES || media.bytes > left {
                    request.images = Arc::new(self.images.clone());
                    return;
                }
                let image = match before.get(&media.digest) {
                    Some(image) => Some(Arc::clone(image)),
                    None => self.read_image(&media.digest, media.bytes).await,
                };
                if let Some(image) = image {
                    left -= media.bytes;
                    self.images.insert(media.digest.clone(), image);
                }
            }
        }
        if !self.images.is_empty() {
            request.images = Arc::new(self.images.clone());
        }
    }

    async fn read_image(&self, digest: &str, bytes: u64) -> Option<Arc<Image>> {
        let read = self.environment.blobs.read(digest, 0, bytes).await;
        let image = read.ok().and_then(|bytes| Image::from_bytes(&bytes).ok());
        if image.is_none() {
            tracing::warn!(digest, "an image of a tool's result cannot be read");
        }
        image.map(Arc::new)
    }
}
