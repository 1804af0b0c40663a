//! The beginning of the RFB protocol (RFC 6143, 7.1): a client shows that it knows the password, the machine asks for
//! none, and from there on both speak with each other.
//!
//! Promises: a client hears nothing of the machine before it has shown the password; versions 3.3, 3.7 and 3.8. Must not
//! know: whose screen it is.

use crate::clock::random_bytes;
use crate::domain::vnc_doors::PASSWORD_LENGTH;
use des::Des;
use des::cipher::{Array, BlockCipherEncrypt as _, KeyInit as _};
use std::io;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

/// How long who gave a wrong password waits for the answer.
const WRONG_WAITS: Duration = Duration::from_secs(2);
/// The security types (RFC 6143, 7.1.2).
const NONE: u8 = 1;
const VNC: u8 = 2;

/// The protocol's versions, as far as they differ here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Version {
    /// 3.3, and whatever we do not know.
    Three,
    /// 3.7
    Seven,
    /// 3.8
    Eight,
}

impl Version {
    fn read(said: &[u8; 12]) -> io::Result<Self> {
        match said {
            b"RFB 003.008\n" => Ok(Self::Eight),
            b"RFB 003.007\n" => Ok(Self::Seven),
            other if other.starts_with(b"RFB ") => Ok(Self::Three),
            _ => Err(io::Error::new(io::ErrorKind::InvalidData, "it does not speak RFB")),
        }
    }
}

/// What the client has to answer: the challenge under DES, with the password as the key, whose bytes the protocol
/// takes with their bits turned around.
fn response(challenge: [u8; 16], password: [u8; PASSWORD_LENGTH]) -> [u8; 16] {
    let cipher = Des::new(&Array::from(password.map(u8::reverse_bits)));
    let mut answer = challenge;
    for block in answer.chunks_exact_mut(8) {
        let mut whole = Array::default();
        whole.copy_from_slice(block);
        cipher.encrypt_block(&mut whole);
        block.copy_from_slice(&whole);
    }
    answer
}

/// Takes as long whatever the bytes are.
fn same(left: &[u8; 16], right: &[u8; 16]) -> bool {
    left.iter().zip(right).fold(0, |differing, (a, b)| differing | (a ^ b)) == 0
}

/// Lets a client in that knows the password; what it sends next is its `ClientInit`. `false`: it does not know it,
/// and has been told so.
///
/// Errors: of the connection, or what is no client.
pub async fn admit<C: AsyncRead + AsyncWrite + Unpin>(
    client: &mut C,
    password: [u8; PASSWORD_LENGTH],
) -> io::Result<bool> {
    client.write_all(b"RFB 003.008\n").await?;
    let mut said = [0; 12];
    client.read_exact(&mut said).await?;
    let version = Version::read(&said)?;
    if version == Version::Three {
        client.write_all(&u32::from(VNC).to_be_bytes()).await?;
    } else {
        client.write_all(&[1, VNC]).await?;
        if client.read_u8().await? != VNC {
            refuse(client, version, "The password is needed.").await?;
            return Ok(false);
        }
    }
    let challenge = random_bytes::<16>();
    client.write_all(&challenge).await?;
    let mut answer = [0; 16];
    client.read_exact(&mut answer).await?;
    if !same(&answer, &response(challenge, password)) {
        tokio::time::sleep(WRONG_WAITS).await;
        refuse(client, version, "The password is wrong.").await?;
        return Ok(false);
    }
    client.write_all(&0_u32.to_be_bytes()).await?;
    Ok(true)
}

async fn refuse<C: AsyncWrite + Unpin>(client: &mut C, version: Version, why: &str) -> io::Result<()> {
    client.write_all(&1_u32.to_be_bytes()).await?;
    if version == Version::Eight {
        client.write_all(&u32::try_from(why.len()).unwrap_or(0).to_be_bytes()).await?;
        client.write_all(why.as_bytes()).await?;
    }
    client.shutdown().await
}

/// Greets the machine, up to where it waits for a `ClientInit`.
///
/// Errors: of the connection, or what asks for a password.
pub async fn greet<M: AsyncRead + AsyncWrite + Unpin>(machine: &mut M) -> io::Result<()> {
    let strange = |what| Err(io::Error::new(io::ErrorKind::InvalidData, what));
    machine.read_exact(&mut [0; 12]).await?;
    machine.write_all(b"RFB 003.008\n").await?;
    let mut types = vec![0; usize::from(machine.read_u8().await?)];
    machine.read_exact(&mut types).await?;
    if !types.contains(&NONE) {
        return strange("the machine asks for a password");
    }
    machine.write_all(&[NONE]).await?;
    if machine.read_u32().await? != 0 {
        return strange("the machine lets nobody in");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::duplex;

    const PASSWORD: [u8; 8] = *b"vnc_pass";

    /// What `vncpasswd -f` of TigerVNC prints for this password: it encrypts it under a key that everybody knows.
    #[test]
    fn the_response_is_that_of_other_programs() {
        let mut challenge = [0; 16];
        challenge[..8].copy_from_slice(&PASSWORD);
        let answer = response(challenge, [23, 82, 107, 6, 35, 78, 88, 7]);
        assert_eq!(answer[..8], [0x65, 0xb9, 0x19, 0x8a, 0x06, 0xca, 0xe2, 0xdb]);
    }

    async fn client(version: &[u8; 12], password: [u8; 8]) -> (bool, Vec<u8>) {
        let (mut ours, mut theirs) = duplex(1024);
        let server = tokio::spawn(async move { admit(&mut ours, PASSWORD).await });
        theirs.read_exact(&mut [0; 12]).await.unwrap();
        theirs.write_all(version).await.unwrap();
        if version == b"RFB 003.003\n" {
            assert_eq!(theirs.read_u32().await.unwrap(), 2);
        } else {
            let mut types = [0; 2];
            theirs.read_exact(&mut types).await.unwrap();
            assert_eq!(types, [1, 2]);
            theirs.write_all(&[2]).await.unwrap();
        }
        let mut challenge = [0; 16];
        theirs.read_exact(&mut challenge).await.unwrap();
        theirs.write_all(&response(challenge, password)).await.unwrap();
        let admitted = server.await.unwrap().unwrap();
        let mut said = Vec::new();
        theirs.read_to_end(&mut said).await.unwrap();
        (admitted, said)
    }

    #[tokio::test]
    async fn the_password_opens_in_every_version_and_another_does_not() {
        for version in [b"RFB 003.003\n", b"RFB 003.007\n", b"RFB 003.008\n"] {
            assert_eq!(client(version, PASSWORD).await, (true, vec![0; 4]));
            let (admitted, said) = client(version, *b"vnc_Pass").await;
            assert!(!admitted);
            assert_eq!(said[..4], [0, 0, 0, 1]);
            assert_eq!(said.ends_with(b"wrong."), version == b"RFB 003.008\n");
        }
    }

    #[tokio::test]
    async fn who_asks_for_no_password_is_refused() {
        let (mut ours, mut theirs) = duplex(1024);
        theirs.write_all(b"RFB 003.008\n\x01").await.unwrap();
        assert!(!admit(&mut ours, PASSWORD).await.unwrap());
        let (mut ours, mut theirs) = duplex(1024);
        theirs.write_all(b"GET / HTTP/1").await.unwrap();
        assert!(admit(&mut ours, PASSWORD).await.is_err());
    }
}
