// Reads configuration entries as `consul config write` does, and holds each to what a Consul server holds it to before it
// stores it. Then makes of the extensions in it what Consul sends to the sidecar of the service.
//
//	consul UPSTREAM FILE...
//
// UPSTREAM is the service that the sidecars have as an upstream. Prints a line for each entry, with the HTTP filters of the
// sidecar's inbound listener in JSON, or for what is wrong with the entry. Ends with 1 if something is.
package main

import (
	"encoding/json"
	"fmt"
	"os"

	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listener "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	http "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	"github.com/hashicorp/consul/agent/envoyextensions"
	"github.com/hashicorp/consul/agent/structs"
	"github.com/hashicorp/consul/api"
	"github.com/hashicorp/consul/command/helpers"
	"github.com/hashicorp/consul/envoyextensions/extensioncommon"
	"github.com/hashicorp/consul/envoyextensions/xdscommon"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/types/known/anypb"
)

func main() {
	code := 0
	for _, path := range os.Args[2:] {
		if line, err := held(path, os.Args[1]); err != nil {
			fmt.Printf("%s: %v\n", path, err)
			code = 1
		} else {
			fmt.Println(line)
		}
	}
	os.Exit(code)
}

func held(path, upstream string) (string, error) {
	entry, err := read(path)
	if err != nil {
		return "", err
	}
	filters := "[]"
	if defaults, ok := entry.(*structs.ServiceConfigEntry); ok && len(defaults.EnvoyExtensions) > 0 {
		if filters, err = extended(defaults, upstream); err != nil {
			return "", err
		}
	}
	return fmt.Sprintf("%s %s %s", entry.GetKind(), entry.GetName(), filters), nil
}

// read does what the command and the server do.
func read(path string) (structs.ConfigEntry, error) {
	text, err := helpers.LoadFromFile(path)
	if err != nil {
		return nil, err
	}
	written, err := helpers.ParseConfigEntry(text)
	if err != nil {
		return nil, err
	}
	// The command sends JSON, which the server reads.
	sent, err := json.Marshal(written)
	if err != nil {
		return nil, err
	}
	var received map[string]any
	if err := json.Unmarshal(sent, &received); err != nil {
		return nil, err
	}
	entry, err := structs.DecodeConfigEntry(received)
	if err != nil {
		return nil, err
	}
	if err := entry.Normalize(); err != nil {
		return nil, err
	}
	return entry, entry.Validate()
}

// extended is the filters of an inbound listener after all extensions of the service.
func extended(defaults *structs.ServiceConfigEntry, upstream string) (string, error) {
	router := &http.HttpFilter{Name: "envoy.filters.http.router"}
	manager, err := anypb.New(&http.HttpConnectionManager{HttpFilters: []*http.HttpFilter{router}})
	if err != nil {
		return "", err
	}
	name := xdscommon.PublicListenerName + ":0.0.0.0:21000"
	resources := xdscommon.EmptyIndexedResources()
	resources.Index[xdscommon.ListenerType][name] = &listener.Listener{
		Name:             name,
		TrafficDirection: core.TrafficDirection_INBOUND,
		FilterChains: []*listener.FilterChain{{Filters: []*listener.Filter{{
			Name:       "envoy.filters.network.http_connection_manager",
			ConfigType: &listener.Filter_TypedConfig{TypedConfig: manager},
		}}}},
	}
	service := func(name string) api.CompoundServiceName {
		return api.CompoundServiceName{Name: name, Namespace: "default", Partition: "default"}
	}
	for _, extension := range defaults.EnvoyExtensions.ToAPI() {
		extender, err := envoyextensions.ConstructExtension(extension)
		if err != nil {
			return "", err
		}
		config := &extensioncommon.RuntimeConfig{
			EnvoyExtension: extension,
			ServiceName:    service(defaults.Name),
			Kind:           api.ServiceKindConnectProxy,
			Protocol:       defaults.Protocol,
			Upstreams: map[api.CompoundServiceName]*extensioncommon.UpstreamData{
				service(upstream): {SNIs: map[string]struct{}{upstream + ".default.dc1.internal": {}}},
			},
		}
		if err := extender.Validate(config); err != nil {
			return "", err
		}
		if resources, err = extender.Extend(resources, config); err != nil {
			return "", err
		}
	}
	chains := resources.Index[xdscommon.ListenerType][name].(*listener.Listener).FilterChains
	after := &http.HttpConnectionManager{}
	if err := chains[0].Filters[0].GetTypedConfig().UnmarshalTo(after); err != nil {
		return "", err
	}
	printed, err := protojson.Marshal(after)
	return string(printed), err
}
