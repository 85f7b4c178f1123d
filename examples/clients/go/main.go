// Gets a token over mutual TLS, and uses it.
//
//	client SERVER CA CERT KEY AUDIENCE
//
// SERVER is host:port of Lanyard's mTLS listener, the next three are PEM files, AUDIENCE is the token's audience. Prints the
// decision on a use of the token over the connection that it was issued on, as JSON.
//
// lanyardv1 is the code that protoc-gen-go and protoc-gen-go-grpc generate from the protos (both are tools of this module):
//
//	protoc -I proto --go_out=. --go-grpc_out=. \
//	    --go_opt=module=client,Mlanyard/v1/token.proto=client/lanyardv1,Mlanyard/v1/binding.proto=client/lanyardv1 \
//	    --go-grpc_opt=module=client,Mlanyard/v1/token.proto=client/lanyardv1,Mlanyard/v1/binding.proto=client/lanyardv1 \
//	    lanyard/v1/token.proto lanyard/v1/binding.proto
package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"log"
	"os"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"

	"client/lanyardv1"
)

func main() {
	server, ca, cert, key, audience := os.Args[1], os.Args[2], os.Args[3], os.Args[4], os.Args[5]
	roots := x509.NewCertPool()
	pem, err := os.ReadFile(ca)
	check(err)
	roots.AppendCertsFromPEM(pem)
	// The token is bound to this certificate: it is used over connections with the same one. When the files change, make
	// a new connection and get a new token.
	own, err := tls.LoadX509KeyPair(cert, key)
	check(err)
	transport := credentials.NewTLS(&tls.Config{RootCAs: roots, Certificates: []tls.Certificate{own}})
	connection, err := grpc.NewClient(server, grpc.WithTransportCredentials(transport))
	check(err)
	defer connection.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()

	// A caller with an X509-SVID may leave out client_id; others must send it. Get the next token at two thirds of this one's life.
	tokens := lanyardv1.NewTokenServiceClient(connection)
	issued, err := tokens.IssueToken(ctx, &lanyardv1.IssueTokenRequest{Audience: []string{audience}})
	check(err)

	// Calls of a protected resource carry the token:
	//	ctx = metadata.AppendToOutgoingContext(ctx, "authorization", "Bearer "+issued.AccessToken)
	// The proxy in front of that resource asks Lanyard about the caller's connection; here the client asks about its own.
	bindings := lanyardv1.NewBindingServiceClient(connection)
	verdict, err := bindings.ValidateBinding(ctx, &lanyardv1.ValidateBindingRequest{
		AccessToken: issued.AccessToken,
		Audience:    audience,
		Evidence:    &lanyardv1.ValidateBindingRequest_OwnConnection{OwnConnection: true},
	})
	check(err)
	check(json.NewEncoder(os.Stdout).Encode(map[string]string{
		"scope": issued.Scope, "decision": verdict.Decision.String(), "match": verdict.Match.String(),
	}))
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
