// Holds manifests to the schemas that they are for, as a Kubernetes API server would: the structure, unknown fields, values
// and the rules in CEL. What Istio reads as text (its mesh configuration, and the annotation with a proxy's) is held to its
// protobuf messages.
//
//	manifests crds CRDS... -- MANIFESTS...
//	manifests mesh-config FILE...
//	manifests proxy-config FILE...
//
// Prints a line for each complaint, and how much was looked at. Ends with 1 if there is one.
package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	mesh "istio.io/api/mesh/v1alpha1"
	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/cel"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/defaulting"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/pruning"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/validation"
	"k8s.io/apimachinery/pkg/util/json"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/apimachinery/pkg/util/yaml"
	celconfig "k8s.io/apiserver/pkg/apis/cel"
	sigsyaml "sigs.k8s.io/yaml"
)

var complaints int

func complain(about string, format string, arguments ...any) {
	complaints++
	fmt.Printf("%s: %s\n", about, fmt.Sprintf(format, arguments...))
}

func main() {
	arguments := os.Args[2:]
	looked := 0
	switch os.Args[1] {
	case "crds":
		end := slices.Index(arguments, "--")
		kinds := map[string]*kind{}
		for _, file := range arguments[:end] {
			for _, document := range documents(file) {
				define(kinds, document)
			}
		}
		for _, file := range arguments[end+1:] {
			for _, document := range documents(file) {
				looked++
				check(file, kinds, document)
			}
		}
	case "mesh-config":
		looked = read(arguments, func() proto.Message { return &mesh.MeshConfig{} })
	case "proxy-config":
		looked = read(arguments, func() proto.Message { return &mesh.ProxyConfig{} })
	}
	fmt.Printf("looked at %d\n", looked)
	if complaints > 0 {
		os.Exit(1)
	}
}

func must[T any](value T, err error) T {
	if err != nil {
		panic(err)
	}
	return value
}

// documents reads a file of YAML documents, in which no key appears twice, each as JSON.
func documents(file string) [][]byte {
	contents := must(os.ReadFile(file))
	reader := yaml.NewYAMLReader(bufio.NewReader(bytes.NewReader(contents)))
	var found [][]byte
	for {
		document, err := reader.Read()
		if errors.Is(err, io.EOF) {
			return found
		}
		read := must(sigsyaml.YAMLToJSONStrict(must(document, err)))
		if !bytes.Equal(read, []byte("null")) {
			found = append(found, read)
		}
	}
}

// kind is what is known of one version of a custom resource.
type kind struct {
	structural *schema.Structural
	validator  validation.SchemaValidator
	rules      *cel.Validator
}

func define(kinds map[string]*kind, document []byte) {
	var crd apiextensionsv1.CustomResourceDefinition
	if err := sigsyaml.Unmarshal(document, &crd); err != nil {
		panic(err)
	}
	if crd.Kind != "CustomResourceDefinition" {
		return
	}
	for _, version := range crd.Spec.Versions {
		internal := &apiextensions.JSONSchemaProps{}
		if err := apiextensionsv1.Convert_v1_JSONSchemaProps_To_apiextensions_JSONSchemaProps(version.Schema.OpenAPIV3Schema, internal, nil); err != nil {
			panic(err)
		}
		structural := must(schema.NewStructural(internal))
		validator, _, err := validation.NewSchemaValidator(internal)
		kinds[crd.Spec.Group+"/"+version.Name+" "+crd.Spec.Names.Kind] = &kind{
			structural: structural,
			validator:  must(validator, err),
			rules:      cel.NewValidator(structural, true, celconfig.PerCallLimit),
		}
	}
}

func check(file string, kinds map[string]*kind, document []byte) {
	object := map[string]any{}
	// Whole numbers stay whole.
	if err := json.Unmarshal(document, &object); err != nil {
		panic(err)
	}
	name := fmt.Sprintf("%v %v", object["apiVersion"], object["kind"])
	about := file + " " + name
	known, ok := kinds[name]
	if !ok {
		complain(about, "no definition of this kind")
		return
	}
	for _, path := range pruning.PruneWithOptions(object, known.structural, true, schema.UnknownFieldPathOptions{TrackUnknownFieldPaths: true}) {
		complain(about, "unknown field %s", path)
	}
	defaulting.Default(object, known.structural)
	for _, problem := range validation.ValidateCustomResource(nil, object, known.validator) {
		complain(about, "%v", problem)
	}
	if known.rules != nil {
		problems, _ := known.rules.Validate(context.Background(), field.NewPath(""), known.structural, object, nil, celconfig.RuntimeCELCostBudget)
		for _, problem := range problems {
			complain(about, "%v", problem)
		}
	}
}

func read(files []string, empty func() proto.Message) int {
	looked := 0
	for _, file := range files {
		for _, document := range documents(file) {
			looked++
			if err := protojson.Unmarshal(document, empty()); err != nil {
				complain(file, "%v", err)
			}
		}
	}
	return looked
}
