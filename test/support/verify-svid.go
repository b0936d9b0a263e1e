// What Go's crypto/x509 makes of an answer of the authority's API, read from standard input: its certificates against its bundle.
package main

import (
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"os"
)

type answer struct {
	Svid   []string `json:"svid"`
	Bundle struct {
		Keys []struct {
			Use string   `json:"use"`
			X5c [][]byte `json:"x5c"`
		} `json:"keys"`
	} `json:"bundle"`
}

type verified struct {
	URIs   []string `json:"uris"`
	IsCA   bool     `json:"isCa"`
	Roots  int      `json:"roots"`
	Length int      `json:"length"`
}

func main() {
	found, err := verify()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	_ = json.NewEncoder(os.Stdout).Encode(found)
}

func verify() (*verified, error) {
	var given answer
	if err := json.NewDecoder(os.Stdin).Decode(&given); err != nil {
		return nil, err
	}
	found := &verified{}
	roots, intermediates := x509.NewCertPool(), x509.NewCertPool()
	for _, key := range given.Bundle.Keys {
		if key.Use != "x509-svid" {
			continue
		}
		root, err := x509.ParseCertificate(key.X5c[0])
		if err != nil {
			return nil, err
		}
		roots.AddCert(root)
		found.Roots++
	}
	var leaf *x509.Certificate
	for index, text := range given.Svid {
		block, rest := pem.Decode([]byte(text))
		if block == nil || len(rest) > 0 {
			return nil, fmt.Errorf("svid[%d] is not one PEM block", index)
		}
		certificate, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, err
		}
		if index == 0 {
			leaf = certificate
		} else {
			intermediates.AddCert(certificate)
		}
	}
	if leaf == nil {
		return nil, fmt.Errorf("svid is empty")
	}
	for _, usage := range []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth} {
		chains, err := leaf.Verify(x509.VerifyOptions{Roots: roots, Intermediates: intermediates, KeyUsages: []x509.ExtKeyUsage{usage}})
		if err != nil {
			return nil, err
		}
		found.Length = len(chains[0])
	}
	for _, uri := range leaf.URIs {
		found.URIs = append(found.URIs, uri.String())
	}
	found.IsCA = leaf.IsCA
	return found, nil
}
