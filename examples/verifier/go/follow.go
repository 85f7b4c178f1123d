package main

import (
	"context"
	"encoding/json"
	"errors"
	"log"
	"math"
	"strings"
	"sync"
	"time"

	"github.com/go-jose/go-jose/v4"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"verify/lanyardv1"
)

// copyOf has the keys and the revocations of a server, as the stream sent them.
type copyOf struct {
	issuer string
	maxAge time.Duration
	mutex  sync.RWMutex
	listed
	// The copy has everything that had changed when this was asked, less the span by which the server was behind.
	asked  time.Time
	behind time.Duration
}

type listed struct {
	revision uint64
	keys     map[string]jose.JSONWebKey
	entries  map[string]*lanyardv1.RevocationEntry
	// By what they apply to, and their id.
	byTokens map[string]map[string]*lanyardv1.RevocationEntry
}

func newListed() *listed {
	return &listed{
		keys:     map[string]jose.JSONWebKey{},
		entries:  map[string]*lanyardv1.RevocationEntry{},
		byTokens: map[string]map[string]*lanyardv1.RevocationEntry{},
	}
}

// age is how old the copy may be. The wall clock counts too: the other one may stop while the machine sleeps.
func (c *copyOf) age() time.Duration {
	if c.asked.IsZero() {
		return math.MaxInt64
	}
	now := time.Now()
	return max(now.Sub(c.asked), now.Round(0).Sub(c.asked.Round(0))) + c.behind
}

func (c *copyOf) isStale() bool {
	c.mutex.RLock()
	defer c.mutex.RUnlock()
	return c.age() > c.maxAge
}

// follow opens one stream after the other. Each goes on after the revision of the one before. After ABORTED, and where the copy is
// of no more use, everything is listed again.
func (c *copyOf) follow(connection *grpc.ClientConn) {
	client := lanyardv1.NewSnapshotServiceClient(connection)
	list := true
	for {
		err := c.stream(client, list)
		log.Print("the stream of revocations ended: ", err)
		list = status.Code(err) == codes.Aborted || c.age() > c.maxAge
		time.Sleep(time.Second)
	}
}

func (c *copyOf) stream(client lanyardv1.SnapshotServiceClient, list bool) error {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	start := &lanyardv1.WatchStart{}
	if !list {
		start.AfterRevision = &c.revision
	}
	asked := time.Now()
	stream, err := client.WatchRevocations(ctx)
	if err != nil {
		return err
	}
	if err := stream.Send(&lanyardv1.WatchRevocationsRequest{Request: &lanyardv1.WatchRevocationsRequest_Start{Start: start}}); err != nil {
		return err
	}
	var beats sync.Map
	silent := time.AfterFunc(10*time.Second, cancel)
	var listing *listed
	for first := true; ; {
		message, err := stream.Recv()
		if err != nil {
			return err
		}
		switch response := message.Response.(type) {
		case *lanyardv1.WatchRevocationsResponse_Started:
			if response.Started.Issuer != c.issuer {
				return errors.New("it is from another issuer: " + response.Started.Issuer)
			}
			if !response.Started.Resumed {
				listing = newListed()
			}
		case *lanyardv1.WatchRevocationsResponse_Listed:
			silent.Reset(10 * time.Second)
			listing.apply(response.Listed)
		case *lanyardv1.WatchRevocationsResponse_Changed:
			if listing != nil {
				listing.apply(response.Changed)
			} else {
				c.mutex.Lock()
				c.apply(response.Changed)
				c.mutex.Unlock()
			}
		case *lanyardv1.WatchRevocationsResponse_Progress:
			silent.Reset(10 * time.Second)
			progress := response.Progress
			known := first
			if progress.Beat != nil {
				var sent any
				if sent, known = beats.LoadAndDelete(*progress.Beat); known {
					asked = sent.(time.Time)
				}
			}
			c.mutex.Lock()
			if listing != nil {
				// A replica that knows less than another one did is not believed while the copy is of use.
				listing.revision = max(listing.revision, progress.Revision)
				if listing.revision < c.revision && c.age() <= c.maxAge {
					c.mutex.Unlock()
					return errors.New("the server is behind")
				}
				c.listed, listing = *listing, nil
			}
			c.revision = max(c.revision, progress.Revision)
			behind := time.Duration(min(progress.AgeMs, 1<<40)) * time.Millisecond
			if known && (c.asked.IsZero() || asked.Add(-behind).After(c.asked.Add(-c.behind))) {
				c.asked, c.behind = asked, behind
			}
			c.forget(time.Now().Unix())
			c.mutex.Unlock()
			if first {
				first = false
				go beat(ctx, stream, &beats)
			}
		}
	}
}

// beat sends a number each second, and notes when. Its answer says that everything has come that was known then.
func beat(ctx context.Context, stream lanyardv1.SnapshotService_WatchRevocationsClient, beats *sync.Map) {
	for number := uint64(1); ctx.Err() == nil; number++ {
		beats.Store(number, time.Now())
		beats.Delete(number - 60)
		request := &lanyardv1.WatchRevocationsRequest_Beat{Beat: &lanyardv1.WatchBeat{Number: number}}
		if stream.Send(&lanyardv1.WatchRevocationsRequest{Request: request}) != nil {
			return
		}
		time.Sleep(time.Second)
	}
}

func (l *listed) apply(entries *lanyardv1.RevocationEntries) {
	for _, entry := range entries.Revocations {
		l.remove(entry.Id)
		if len(entry.Tokens) == 0 {
			continue
		}
		l.entries[entry.Id] = entry
		for _, tokens := range entry.Tokens {
			name := nameOf(tokens)
			if l.byTokens[name] == nil {
				l.byTokens[name] = map[string]*lanyardv1.RevocationEntry{}
			}
			l.byTokens[name][entry.Id] = entry
		}
	}
	for _, key := range entries.Keys {
		delete(l.keys, key.Kid)
		var parsed jose.JSONWebKey
		if key.Jwk != nil && json.Unmarshal([]byte(*key.Jwk), &parsed) == nil && parsed.IsPublic() {
			l.keys[key.Kid] = parsed
		}
	}
	l.revision = max(l.revision, entries.Revision)
}

func (l *listed) remove(id string) {
	if entry := l.entries[id]; entry != nil {
		for _, tokens := range entry.Tokens {
			delete(l.byTokens[nameOf(tokens)], id)
			if len(l.byTokens[nameOf(tokens)]) == 0 {
				delete(l.byTokens, nameOf(tokens))
			}
		}
		delete(l.entries, id)
	}
}

// forget drops what has ended.
func (l *listed) forget(now int64) {
	for id, entry := range l.entries {
		if entry.Expires != nil && now >= *entry.Expires {
			l.remove(id)
		}
	}
}

// nameOf names some tokens. What it does not know stands for all.
func nameOf(tokens *lanyardv1.RevokedTokens) string {
	switch of := tokens.Tokens.(type) {
	case *lanyardv1.RevokedTokens_Jti:
		return "jti " + of.Jti
	case *lanyardv1.RevokedTokens_ClientId:
		return "client " + of.ClientId
	case *lanyardv1.RevokedTokens_Registration:
		return "registration " + of.Registration
	case *lanyardv1.RevokedTokens_Certificate:
		return "certificate " + of.Certificate
	case *lanyardv1.RevokedTokens_Identities:
		return "below " + strings.TrimSuffix(of.Identities, "*")
	case *lanyardv1.RevokedTokens_TrustDomain:
		return "domain " + of.TrustDomain
	default:
		return "all"
	}
}
