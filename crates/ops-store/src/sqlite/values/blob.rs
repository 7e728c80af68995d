//! Large values: stored once per tenant under their SHA-256, in compressed chunks, so that a slice
//! can be read without unpacking the whole.

use std::sync::LazyLock;

use ops_core::{TenantId, ports::StoreError};
use rusqlite::{Connection, OptionalExtension as _, types::Type};
use sha2::{Digest as _, Sha256};

use crate::sqlite::{
    error::Newer,
    schema::{
        rows::{intact, signed},
        sums::{BLOBS, intact},
    },
};

/// SHA-256 of a value.
pub(crate) type Digest = [u8; 32];

/// Values up to this many bytes stay in the row that they belong to.
pub(crate) const INLINE: usize = ops_core::rules::links::MAX_INLINE_BYTES;
/// Bytes in a chunk before compression.
const CHUNK: usize = 256 << 10;
/// zstd's fastest ordinary level.
const LEVEL: i32 = 1;

/// How bytes are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Codec {
    Plain = 0,
    Zstd = 1,
}

/// A stored value stays, unless the stored value is damaged.
static INSERT: LazyLock<String> = LazyLock::new(|| {
    format!(
        "{} ON CONFLICT DO UPDATE SET size = excluded.size, codec = excluded.codec, \
         bytes = excluded.bytes, whole = excluded.whole, sum = excluded.sum WHERE NOT {}",
        BLOBS.insert(
            &[
                "tenant_id",
                "digest",
                "chunk",
                "size",
                "codec",
                "bytes",
                "whole"
            ],
            &[]
        ),
        BLOBS.intact,
    )
});

/// A value that is ready to be stored: packing is the caller's work, not the writer's.
#[derive(Debug)]
pub(crate) struct Packed {
    pub(crate) digest: Digest,
    /// Bytes of the whole value.
    whole: u64,
    chunks: Vec<Chunk>,
}

/// Bytes, compressed if that helps.
#[derive(Debug)]
pub(crate) struct Chunk {
    pub(crate) size: u32,
    codec: Codec,
    pub(crate) bytes: Vec<u8>,
}

impl Chunk {
    pub(crate) fn pack(plain: &[u8]) -> Self {
        let size = u32::try_from(plain.len()).unwrap_or(u32::MAX);
        match zstd::bulk::compress(plain, LEVEL) {
            Ok(bytes) if bytes.len() < plain.len() - plain.len() / 16 => Self {
                size,
                codec: Codec::Zstd,
                bytes,
            },
            Ok(_) | Err(_) => Self {
                size,
                codec: Codec::Plain,
                bytes: plain.to_owned(),
            },
        }
    }

    pub(crate) fn codec(&self) -> u8 {
        self.codec as u8
    }
}

/// Unpacks a chunk that [`Chunk::pack`] made, from its row.
pub(crate) fn unpack(codec: u8, size: u32, bytes: Vec<u8>) -> rusqlite::Result<Vec<u8>> {
    match codec {
        0 => Ok(bytes),
        1 => zstd::bulk::decompress(&bytes, size as usize).map_err(unreadable),
        other => Err(unreadable(Newer(format!("codec {other}")))),
    }
}

fn unreadable(what: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(0, Type::Blob, what.into())
}

impl Packed {
    pub(crate) fn new(plain: &[u8]) -> Self {
        let digest = Sha256::digest(plain).into();
        let chunks = match plain {
            [] => vec![Chunk::pack(&[])],
            _ => plain.chunks(CHUNK).map(Chunk::pack).collect(),
        };
        Self {
            digest,
            whole: plain.len() as u64,
            chunks,
        }
    }

    /// Stores the chunks that the tenant does not have: retention may be halfway through deleting the
    /// value.
    pub(crate) fn store(&self, conn: &Connection, tenant: TenantId) -> rusqlite::Result<()> {
        let mut insert = conn.prepare_cached(&INSERT)?;
        for (number, chunk) in (0_u32..).zip(&self.chunks) {
            let row = (
                tenant.0,
                self.digest,
                number,
                chunk.size,
                chunk.codec(),
                chunk.bytes.as_slice(),
                signed(self.whole),
            );
            insert.execute(row)?;
        }
        Ok(())
    }
}

/// The digest of hexadecimal text; `None` for other text.
pub(crate) fn parse_digest(hex: &str) -> Option<Digest> {
    units::hex::decode_array(hex)
}

/// The whole of a value that a row refers to.
pub(crate) fn read(
    conn: &Connection,
    tenant: TenantId,
    digest: &Digest,
) -> rusqlite::Result<Vec<u8>> {
    let mut select = conn.prepare_cached(concat!(
        "SELECT codec, size, bytes, ",
        intact!(blobs),
        " FROM blobs WHERE tenant_id = ? AND digest = ? ORDER BY chunk"
    ))?;
    let mut whole = Vec::new();
    let mut rows = select.query((tenant.0, digest))?;
    let mut found = false;
    while let Some(row) = rows.next()? {
        found = true;
        intact(row, 3)?;
        whole.append(&mut unpack(row.get(0)?, row.get(1)?, row.get(2)?)?);
    }
    if !found {
        return Err(unreadable("a blob that a row refers to is missing"));
    }
    if Sha256::digest(&whole).as_slice() != digest {
        return Err(unreadable("a blob is not what its digest says"));
    }
    Ok(whole)
}

/// Bytes of a value that a row refers to. Only its first chunk is looked at, unless an older release stored it.
pub(crate) fn size(conn: &Connection, tenant: TenantId, digest: &Digest) -> rusqlite::Result<u64> {
    let mut select = conn.prepare_cached(concat!(
        "SELECT whole, ",
        intact!(blobs),
        " FROM blobs WHERE tenant_id = ? AND digest = ? AND chunk = 0"
    ))?;
    let whole = select.query_row((tenant.0, digest), |row| {
        intact(row, 1)?;
        row.get::<_, Option<i64>>(0)
    });
    match whole.optional()? {
        Some(Some(whole)) => u64::try_from(whole).map_err(unreadable),
        Some(None) => Ok(read(conn, tenant, digest)?.len() as u64),
        None => Err(unreadable("a blob that a row refers to is missing")),
    }
}

/// A slice of a value; unpacks only the chunks of the slice, and checks those chunks by their sums: the
/// digest of the whole would need all of them. `None` for an unknown value.
pub(crate) fn read_slice(
    conn: &Connection,
    tenant: TenantId,
    digest: &Digest,
    offset: u64,
    len: u64,
) -> rusqlite::Result<Option<Vec<u8>>> {
    let mut exists = conn.prepare_cached(concat!(
        "SELECT whole, ",
        intact!(blobs),
        " FROM blobs WHERE tenant_id = ? AND digest = ? AND chunk = 0"
    ))?;
    let whole = exists
        .query_row((tenant.0, digest), |row| {
            intact(row, 1)?;
            row.get::<_, Option<i64>>(0)
        })
        .optional()?;
    let Some(whole) = whole else {
        return Ok(None);
    };
    let chunk = CHUNK as u64;
    let end = offset.saturating_add(len);
    let (first, last) = (offset / chunk, end.div_ceil(chunk));
    let mut select = conn.prepare_cached(concat!(
        "SELECT chunk, codec, size, bytes, ",
        intact!(blobs),
        " FROM blobs \
         WHERE tenant_id = ? AND digest = ? AND chunk >= ? AND chunk < ? ORDER BY chunk"
    ))?;
    let clamp = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
    let mut rows = select.query((tenant.0, digest, clamp(first), clamp(last)))?;
    let mut slice = Vec::new();
    while let Some(row) = rows.next()? {
        intact(row, 4)?;
        let start = row.get::<_, u32>(0)? as usize * CHUNK;
        let plain = unpack(row.get(1)?, row.get(2)?, row.get(3)?)?;
        let within = |at: u64| {
            usize::try_from(at)
                .unwrap_or(usize::MAX)
                .saturating_sub(start)
                .min(plain.len())
        };
        slice.extend_from_slice(&plain[within(offset)..within(end)]);
    }
    // A value of a release that did not store its length is as long as its chunks are.
    if let Some(whole) = whole.and_then(|whole| u64::try_from(whole).ok())
        && slice.len() as u64 != end.min(whole).saturating_sub(offset)
    {
        return Err(unreadable("a part of a blob is missing"));
    }
    Ok(Some(slice))
}

/// Refuses a value that is larger than the cap.
pub(crate) fn check_size(size: usize, cap: u64) -> Result<(), StoreError> {
    let size = size as u64;
    if size > cap {
        Err(StoreError::TooLarge { size, cap })
    } else {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests_parse_in_hex_only() {
        let hex = "0123456789abcdefABCDEF0123456789abcdef0123456789abcdef0123456789";
        assert_eq!(
            parse_digest(hex).map(|digest| digest[..3].to_vec()),
            Some(vec![1, 0x23, 0x45])
        );
        for bad in [
            "",
            "12",
            &hex[1..],
            &format!("{}g", &hex[1..]),
            &"é".repeat(32),
        ] {
            assert_eq!(parse_digest(bad), None, "{bad}");
        }
    }

    #[test]
    fn compression_is_used_only_where_it_helps() {
        assert_eq!(Chunk::pack(&[7; 9_000]).codec, Codec::Zstd);
        let noise: Vec<u8> = (0..9_000_u32)
            .flat_map(|n| Sha256::digest(n.to_le_bytes()).to_vec())
            .take(9_000)
            .collect();
        let chunk = Chunk::pack(&noise);
        assert_eq!(chunk.codec, Codec::Plain);
        assert_eq!(unpack(chunk.codec(), 9_000, chunk.bytes).unwrap(), noise);
        assert!(unpack(9, 1, vec![1]).is_err());
    }
}
