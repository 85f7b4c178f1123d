// A service that acts for its callers: it exchanges the receipt of each request for a token of its own (RFC 8693).
//
//	exchange PORT TOKEN_URL CA CERT KEY CLIENT_ID AUDIENCE SCOPE
//
// PORT is where its proxy reaches it on this machine. TOKEN_URL is Lanyard's token endpoint, the next three are PEM files,
// CLIENT_ID is this service's own, AUDIENCE and SCOPE are what it needs of the next service.
package main

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"log"
	"net"
	"net/http"
	"net/url"
	"os"
	"time"
)

// The answer of the token endpoint: a token, or the error of RFC 6749 section 5.2.
type answer struct {
	AccessToken string `json:"access_token"`
	Scope       string `json:"scope"`
	Error       string `json:"error"`
}

type exchanger struct {
	tokenURL, clientID, audience, scope string
	client                              *http.Client
}

// A token that speaks for the caller.
func (e exchanger) exchange(receipt string) (answer, error) {
	form := url.Values{
		"grant_type":         {"urn:ietf:params:oauth:grant-type:token-exchange"},
		"client_id":          {e.clientID},
		"subject_token":      {receipt},
		"subject_token_type": {"urn:lanyard:params:oauth:token-type:presentation-receipt"},
		"resource":           {e.audience},
		"scope":              {e.scope},
	}
	var token answer
	response, err := e.client.PostForm(e.tokenURL, form)
	if err != nil {
		return token, err
	}
	defer response.Body.Close()
	return token, json.NewDecoder(response.Body).Decode(&token)
}

func (e exchanger) ServeHTTP(out http.ResponseWriter, in *http.Request) {
	// The proxy in front writes this header, and takes out what a client sent under that name.
	receipt := in.Header.Get("x-lanyard-receipt")
	if receipt == "" {
		reply(out, http.StatusForbidden, map[string]string{"error": "no receipt"})
		return
	}
	token, err := e.exchange(receipt)
	if err != nil {
		log.Print(err)
		reply(out, http.StatusBadGateway, map[string]string{"error": "no answer"})
		return
	}
	if token.AccessToken == "" {
		reply(out, http.StatusForbidden, map[string]string{"error": token.Error})
		return
	}
	// Here it calls the next service, with this certificate and `Authorization: Bearer`, and forgets the token: it is for
	// this caller alone.
	reply(out, http.StatusOK, map[string]string{"scope": token.Scope})
}

func reply(out http.ResponseWriter, status int, body map[string]string) {
	out.WriteHeader(status)
	json.NewEncoder(out).Encode(body)
}

func main() {
	port, tokenURL, ca, cert, key := os.Args[1], os.Args[2], os.Args[3], os.Args[4], os.Args[5]
	pem, err := os.ReadFile(ca)
	if err != nil {
		log.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(pem)
	config := &tls.Config{
		RootCAs: roots,
		// Read for each connection, since the certificate is renewed. The token is bound to it.
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			pair, err := tls.LoadX509KeyPair(cert, key)
			return &pair, err
		},
	}
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: config}, Timeout: 10 * time.Second}
	listener, err := net.Listen("tcp", "127.0.0.1:"+port)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("listening")
	log.Fatal(http.Serve(listener, exchanger{tokenURL, os.Args[6], os.Args[7], os.Args[8], client}))
}
