// Verifies access tokens without asking Lanyard about each.
//
//	verify SERVER CA CERT KEY ISSUER MAX-AGE
//
// SERVER is host:port of Lanyard's mTLS listener, the next three are PEM files (the certificate has the role Edge or Proxy), ISSUER is
// the issuer of the tokens, MAX-AGE how old the revocations may be, such as 1m. For each line of the input, TOKEN CERTIFICATE-FILE
// AUDIENCE SCOPE, it prints "allowed" with the client_id, or "refused" with a code. A service calls verify with what it has of its
// own connection: r.TLS.PeerCertificates[0].
//
// lanyardv1 is the code that protoc-gen-go and protoc-gen-go-grpc generate from the proto (both are tools of this module):
//
//	protoc -I proto --go_out=. --go-grpc_out=. \
//	    --go_opt=module=verify,Mlanyard/v1/snapshot.proto=verify/lanyardv1 \
//	    --go-grpc_opt=module=verify,Mlanyard/v1/snapshot.proto=verify/lanyardv1 lanyard/v1/snapshot.proto
package main

import (
	"bufio"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"log"
	"os"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
)

func main() {
	server, ca, cert, key, issuer := os.Args[1], os.Args[2], os.Args[3], os.Args[4], os.Args[5]
	maxAge, err := time.ParseDuration(os.Args[6])
	check(err)
	roots := x509.NewCertPool()
	text, err := os.ReadFile(ca)
	check(err)
	roots.AppendCertsFromPEM(text)
	own, err := tls.LoadX509KeyPair(cert, key)
	check(err)
	transport := credentials.NewTLS(&tls.Config{RootCAs: roots, Certificates: []tls.Certificate{own}})
	connection, err := grpc.NewClient(server, grpc.WithTransportCredentials(transport))
	check(err)

	verifier := &copyOf{issuer: issuer, maxAge: maxAge}
	go verifier.follow(connection)
	for tries := 0; tries < 50 && verifier.isStale(); tries++ {
		time.Sleep(100 * time.Millisecond)
	}
	for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
		line := strings.SplitN(lines.Text(), " ", 4)
		text, err := os.ReadFile(line[1])
		check(err)
		block, _ := pem.Decode(text)
		certificate, err := x509.ParseCertificate(block.Bytes)
		check(err)
		if clientID, err := verifier.verify(line[0], certificate, line[2], line[3]); err != nil {
			fmt.Println("refused", err)
		} else {
			fmt.Println("allowed", clientID)
		}
	}
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
