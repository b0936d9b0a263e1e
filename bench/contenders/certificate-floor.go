// What a certificate costs Go's crypto/x509 in memory: a request read and verified, a certificate made and signed. Prints CPU µs for each.
package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"math/big"
	"net/url"
	"syscall"
	"time"
)

const count = 3000

func must[T any](value T, err error) T {
	if err != nil {
		panic(err)
	}
	return value
}

func cpu() time.Duration {
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		panic(err)
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}

func main() {
	now := time.Now()
	id := must(url.Parse("spiffe://bench.example/ns/shop/sa/cart"))
	key := must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	issuer := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{Organization: []string{"bench.example"}}, NotBefore: now, NotAfter: now.Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign, SubjectKeyId: []byte{1, 2, 3, 4},
	}
	caller := must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	asked := must(x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, caller))
	begun := cpu()
	for range count {
		request := must(x509.ParseCertificateRequest(asked))
		if err := request.CheckSignature(); err != nil {
			panic(err)
		}
		must(x509.CreateCertificate(rand.Reader, &x509.Certificate{
			SerialNumber: must(rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 126))), NotBefore: now, NotAfter: now.Add(time.Hour),
			KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
			BasicConstraintsValid: true, URIs: []*url.URL{id},
		}, issuer, request.PublicKey, key))
	}
	fmt.Println(float64((cpu() - begun).Nanoseconds()) / 1e3 / count)
}
