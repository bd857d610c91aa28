package once

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"syscall"
)

var (
	errConnectTimeout = errors.New("timed out while connecting")
	errAnswerTimeout  = errors.New("timed out while waiting for the answer")
)

// plain says what happened on the way in words of our own. net/http's own
// errors may quote what the other side sent ("malformed HTTP response …"), which
// may quote the request: they are never passed on. What callers may branch on
// is wrapped: context.Canceled, context.DeadlineExceeded, io.EOF, syscall.Errno.
func plain(ctx context.Context, err error) error {
	var (
		dns      *net.DNSError
		op       *net.OpError
		errno    syscall.Errno
		unknown  x509.UnknownAuthorityError
		host     x509.HostnameError
		invalid  x509.CertificateInvalidError
		verify   *tls.CertificateVerificationError
		notTLS   tls.RecordHeaderError
		alert    tls.AlertError
		netError net.Error
	)
	if cause := context.Cause(ctx); cause != nil {
		return cause
	}
	switch {
	case errors.As(err, &dns):
		if dns.IsNotFound {
			return errors.New("the provider's host name is not known to the name server")
		}
		return errors.New("the name server does not answer")
	case errors.As(err, &unknown):
		return errors.New("the certificate is signed by nobody this host trusts")
	case errors.As(err, &host):
		return errors.New("the certificate is for another host")
	case errors.As(err, &invalid):
		return errors.New("the certificate is not valid (expired, or the clock is wrong)")
	case errors.As(err, &verify):
		return errors.New("the certificate cannot be verified")
	case errors.As(err, &notTLS):
		return errors.New("the other side does not speak TLS")
	case errors.As(err, &alert):
		return fmt.Errorf("TLS was refused with alert %d", uint8(alert))
	case errors.As(err, &errno):
		if errors.As(err, &op) {
			return fmt.Errorf("%s: %w", op.Op, errno)
		}
		return errno
	case errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, io.EOF):
		return fmt.Errorf("the connection was closed: %w", io.EOF)
	case errors.Is(err, os.ErrDeadlineExceeded), errors.As(err, &netError) && netError.Timeout():
		return fmt.Errorf("timed out: %w", context.DeadlineExceeded)
	}
	return errors.New("the other side, or a proxy on the way, did not speak HTTP as it should")
}
