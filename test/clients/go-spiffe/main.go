// A program as users of go-spiffe write it. It says what it gets as lines of JSON, and ends when its standard input does.
// Arguments: the address of a sidecar's inbound listener, and the SPIFFE ID expected there; both may be empty.
package main

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"

	"github.com/spiffe/go-spiffe/v2/bundle/jwtbundle"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/spiffetls/tlsconfig"
	"github.com/spiffe/go-spiffe/v2/svid/jwtsvid"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"
	"github.com/spiffe/go-spiffe/v2/workloadapi"
)

func say(event string, facts map[string]any) {
	facts["event"] = event
	line, err := json.Marshal(facts)
	must(err)
	fmt.Println(string(line))
}

func must(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

type watcher struct{}

func (watcher) OnX509ContextUpdate(update *workloadapi.X509Context) {
	svid := update.DefaultSVID()
	domains := []string{}
	for _, bundle := range update.Bundles.Bundles() {
		domains = append(domains, bundle.TrustDomain().Name())
	}
	say("x509", map[string]any{"id": svid.ID.String(), "serial": serialOf(svid), "hint": svid.Hint, "domains": domains, "chain": len(svid.Certificates)})
}

func (watcher) OnX509ContextWatchError(err error) {
	say("error", map[string]any{"message": err.Error()})
}

func serialOf(svid *x509svid.SVID) string { return hex.EncodeToString(svid.Certificates[0].SerialNumber.Bytes()) }

func main() {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	client, err := workloadapi.New(ctx)
	must(err)
	defer client.Close()
	go func() { _ = client.WatchX509Context(ctx, watcher{}) }()

	bundles, err := client.FetchX509Bundles(ctx)
	must(err)
	say("bundles", map[string]any{"count": len(bundles.Bundles())})

	token, err := client.FetchJWTSVID(ctx, jwtsvid.Params{Audience: "catalog"})
	must(err)
	say("jwt", map[string]any{"id": token.ID.String(), "audience": token.Audience})
	validated, err := client.ValidateJWTSVID(ctx, token.Marshal(), "catalog")
	must(err)
	say("validated", map[string]any{"id": validated.ID.String()})
	if _, err := client.ValidateJWTSVID(ctx, token.Marshal(), "orders"); err != nil {
		say("invalid", map[string]any{"message": err.Error()})
	}
	jwtBundles, err := client.FetchJWTBundles(ctx)
	must(err)
	local, err := jwtsvid.ParseAndValidate(token.Marshal(), jwtbundle.NewSet(jwtBundles.Bundles()...), []string{"catalog"})
	must(err)
	say("locally", map[string]any{"id": local.ID.String()})

	if os.Args[1] != "" {
		source, err := workloadapi.NewX509Source(ctx, workloadapi.WithClient(client))
		must(err)
		defer source.Close()
		config := tlsconfig.MTLSClientConfig(source, source, tlsconfig.AuthorizeID(spiffeid.RequireFromString(os.Args[2])))
		answer, err := (&http.Client{Transport: &http.Transport{TLSClientConfig: config}}).Get("https://" + os.Args[1] + "/")
		must(err)
		say("answer", map[string]any{"status": answer.StatusCode})
	}
	_, _ = io.Copy(io.Discard, os.Stdin)
}
