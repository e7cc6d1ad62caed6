//! A socket that gives others their turn: what a connection has read is looked at before it reads on.
//!
//! HTTP/2 reads as long as its socket has bytes and its windows are open, and only then do the requests that it found run.
//! With many senders at once that would be all of their windows in memory, before admission has seen one byte.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Bytes that a connection may read in one turn: a frame of the largest size.
const TURN_BYTES: usize = 256 << 10;

/// See the module.
pub(super) struct Paced<S> {
    stream: S,
    left: usize,
}

impl<S> Paced<S> {
    pub(super) const fn new(stream: S) -> Self {
        Self { stream, left: TURN_BYTES }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Paced<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, out: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.left == 0 {
            self.left = TURN_BYTES;
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let before = out.filled().len();
        let polled = Pin::new(&mut self.stream).poll_read(cx, out);
        if polled.is_pending() {
            self.left = TURN_BYTES;
        }
        ready!(polled)?;
        self.left = self.left.saturating_sub(out.filled().len() - before);
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Paced<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bytes)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt;

    use super::*;

    #[tokio::test]
    async fn after_a_turn_of_bytes_others_run_first() {
        let mut endless = Paced::new(tokio::io::repeat(7));
        let (told, mut heard) = tokio::sync::oneshot::channel();
        tokio::spawn(async move { told.send(()) });
        let mut first = vec![0; TURN_BYTES];
        endless.read_exact(&mut first).await.expect("endless");
        assert!(heard.try_recv().is_err(), "one turn is not broken");
        endless.read_u8().await.expect("endless");
        assert!(heard.try_recv().is_ok(), "the other task had its turn");
    }
}
