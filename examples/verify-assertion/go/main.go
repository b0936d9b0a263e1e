// An app that takes requests only with an assertion of the sidecar beside it, and answers with the caller's SPIFFE ID.
package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"log"
	"math/big"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"
)

// keys are the sidecar's, by kid: fetched again when one is unknown, at most every ten seconds.
type keys struct {
	url     string
	lock    sync.Mutex
	fetched time.Time
	known   map[string]*ecdsa.PublicKey
}

func (k *keys) get(kid string) (*ecdsa.PublicKey, error) {
	k.lock.Lock()
	defer k.lock.Unlock()
	if k.known[kid] == nil && time.Since(k.fetched) >= 10*time.Second {
		k.fetched = time.Now()
		known, err := fetch(k.url)
		if err != nil {
			return nil, err
		}
		k.known = known
	}
	if key := k.known[kid]; key != nil {
		return key, nil
	}
	return nil, errors.New("no key of the sidecar signed it")
}

func fetch(url string) (map[string]*ecdsa.PublicKey, error) {
	client := http.Client{Timeout: 5 * time.Second}
	response, err := client.Get(url)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	var set struct {
		Keys []struct{ Kty, Crv, Kid, X, Y string }
	}
	if err := json.NewDecoder(response.Body).Decode(&set); err != nil {
		return nil, err
	}
	known := map[string]*ecdsa.PublicKey{}
	for _, key := range set.Keys {
		x, errX := base64.RawURLEncoding.DecodeString(key.X)
		y, errY := base64.RawURLEncoding.DecodeString(key.Y)
		if key.Kty != "EC" || key.Crv != "P-256" || errX != nil || errY != nil {
			continue
		}
		known[key.Kid] = &ecdsa.PublicKey{Curve: elliptic.P256(), X: new(big.Int).SetBytes(x), Y: new(big.Int).SetBytes(y)}
	}
	return known, nil
}

type claims struct {
	Iss, Aud, Sub string
	Exp           int64
}

func (k *keys) verify(assertion, issuer, audience string) (*claims, error) {
	parts := strings.Split(assertion, ".")
	if len(parts) != 3 {
		return nil, errors.New("not a signed token")
	}
	var header struct{ Alg, Kid string }
	var found claims
	signature, err := base64.RawURLEncoding.DecodeString(parts[2])
	if err != nil || decode(parts[0], &header) != nil || decode(parts[1], &found) != nil {
		return nil, errors.New("not a signed token")
	}
	if header.Alg != "ES256" || len(signature) != 64 {
		return nil, errors.New("not signed with ES256")
	}
	key, err := k.get(header.Kid)
	if err != nil {
		return nil, err
	}
	digest := sha256.Sum256([]byte(parts[0] + "." + parts[1]))
	r, s := new(big.Int).SetBytes(signature[:32]), new(big.Int).SetBytes(signature[32:])
	switch {
	case !ecdsa.Verify(key, digest[:], r, s):
		return nil, errors.New("not signed by the sidecar")
	case found.Iss != issuer || found.Aud != audience:
		return nil, errors.New("of another sidecar, or for another app")
	case time.Now().Unix() >= found.Exp:
		return nil, errors.New("it has ended")
	case found.Sub == "":
		return nil, errors.New("it names nobody")
	}
	return &found, nil
}

func decode(part string, into any) error {
	bytes, err := base64.RawURLEncoding.DecodeString(part)
	if err != nil {
		return err
	}
	return json.Unmarshal(bytes, into)
}

func main() {
	known := &keys{url: os.Getenv("ASSERTION_KEYS")}
	issuer, audience := os.Getenv("ASSERTION_ISSUER"), os.Getenv("ASSERTION_AUDIENCE")
	port := os.Getenv("PORT")
	if port == "" {
		port = "8080"
	}
	listener, err := net.Listen("tcp", "127.0.0.1:"+port)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("listening on %s\n", listener.Addr())
	log.Fatal(http.Serve(listener, http.HandlerFunc(func(response http.ResponseWriter, request *http.Request) {
		caller, err := known.verify(request.Header.Get("X-Postern-Assertion"), issuer, audience)
		if err != nil {
			http.Error(response, "no valid assertion", http.StatusUnauthorized)
			return
		}
		fmt.Fprintln(response, caller.Sub)
	})))
}
