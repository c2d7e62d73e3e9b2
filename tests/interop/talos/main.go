// A reference: Talos' own config code of one version behind a command line, so that a test can ask every version the same questions.
// It is compiled once per version of the machinery module; the files beside this one hold what differs between them.
package main

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"

	"github.com/siderolabs/talos/pkg/machinery/config"
	configtypes "github.com/siderolabs/talos/pkg/machinery/config/config"
	"github.com/siderolabs/talos/pkg/machinery/config/configloader"
	"github.com/siderolabs/talos/pkg/machinery/config/configpatcher"
	"github.com/siderolabs/talos/pkg/machinery/config/container"
	"github.com/siderolabs/talos/pkg/machinery/config/encoder"
	"github.com/siderolabs/talos/pkg/machinery/config/generate"
	"github.com/siderolabs/talos/pkg/machinery/config/generate/secrets"
	"github.com/siderolabs/talos/pkg/machinery/config/machine"
	"github.com/siderolabs/talos/pkg/machinery/config/validation"
	"github.com/siderolabs/talos/pkg/machinery/constants"
	"github.com/siderolabs/talos/pkg/machinery/version"
)

// registries is Talos' merged view of machine.registries and the Registry*Config documents.
type registries struct {
	Mirrors    map[string]mirror    `json:"mirrors"`
	Auth       map[string]auth      `json:"auth"`
	TLS        map[string]tlsConfig `json:"tls"`
	Duplicates []string             `json:"duplicates"`
}

type mirror struct {
	Endpoints    []endpoint `json:"endpoints"`
	SkipFallback bool       `json:"skipFallback"`
}

type endpoint struct {
	URL          string `json:"url"`
	OverridePath bool   `json:"overridePath"`
}

type auth struct {
	Username      string `json:"username,omitempty"`
	Password      string `json:"password,omitempty"`
	Auth          string `json:"auth,omitempty"`
	IdentityToken string `json:"identityToken,omitempty"`
}

type tlsConfig struct {
	CA                 string          `json:"ca,omitempty"`
	ClientIdentity     *clientIdentity `json:"clientIdentity,omitempty"`
	InsecureSkipVerify bool            `json:"insecureSkipVerify,omitempty"`
}

type clientIdentity struct {
	Cert string `json:"cert"`
	Key  string `json:"key"`
}

func newAuth(a configtypes.RegistryAuthConfig) auth {
	return auth{a.Username(), a.Password(), a.Auth(), a.IdentityToken()}
}

// metal is the mode of `talosctl validate --mode metal`.
type metal struct{}

func (metal) String() string        { return "metal" }
func (metal) RequiresInstall() bool { return true }
func (metal) InContainer() bool     { return false }

type list []string

func (l *list) String() string     { return fmt.Sprint(*l) }
func (l *list) Set(s string) error { *l = append(*l, s); return nil }

func main() {
	out, err := run(os.Args[1:])
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}

	os.Stdout.Write(out) //nolint:errcheck
}

func run(args []string) (out []byte, err error) {
	// Talos of some versions panics where it ought to refuse; to a test both are a refusal.
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v", p)
		}
	}()

	if len(args) == 0 {
		return nil, errors.New("gen, patch, registries or validate")
	}

	var (
		patches list
		flags   = flag.NewFlagSet(args[0], flag.ExitOnError)
		role    = flags.String("type", "controlplane", "controlplane or worker")
		single  = flags.Bool("single", false, "only the v1alpha1 document")
		comment = flags.Bool("comments", false, "with the comments of talosctl gen config")
		file    = flags.String("config", "", "a machine config")
	)

	flags.Var(&patches, "patch", "a file")
	flags.Parse(args[1:]) //nolint:errcheck // exits

	if args[0] == "gen" {
		return gen(*role, *single, *comment)
	}

	data, err := os.ReadFile(*file)
	if err != nil {
		return nil, err
	}

	if args[0] == "patch" {
		return patch(data, patches)
	}

	cfg, err := configloader.NewFromBytes(data)
	if err != nil {
		return nil, err
	}

	switch args[0] {
	case "registries":
		r := read(cfg)
		r.Duplicates = duplicates(r)

		return json.Marshal(r)
	case "validate":
		warnings, err := cfg.Validate(metal{}, validation.WithLocal())

		return json.Marshal(map[string][]string{"warnings": warnings, "errors": messages(err)})
	}

	return nil, fmt.Errorf("no command %q", args[0])
}

// gen is `talosctl gen config`.
func gen(role string, single, comments bool) ([]byte, error) {
	contract, err := config.ParseContractFromVersion(version.Tag)
	if err != nil {
		return nil, err
	}

	bundle, err := secrets.NewBundle(secrets.NewClock(), contract)
	if err != nil {
		return nil, err
	}

	in, err := generate.NewInput("interop", "https://10.0.0.1:6443", constants.DefaultKubernetesVersion,
		generate.WithVersionContract(contract), generate.WithSecretsBundle(bundle), generate.WithInstallDisk("/dev/sda"))
	if err != nil {
		return nil, err
	}

	t, err := machine.ParseType(role)
	if err != nil {
		return nil, err
	}

	cfg, err := in.Config(t)
	if err != nil {
		return nil, err
	}

	if single {
		cfg = container.NewV1Alpha1(cfg.RawV1Alpha1())
	}

	flags := encoder.CommentsDisabled
	if comments {
		flags = encoder.CommentsAll
	}

	return cfg.EncodeBytes(encoder.WithComments(flags))
}

// patch is `talosctl machineconfig patch`.
func patch(cfg []byte, files []string) ([]byte, error) {
	for i := range files {
		files[i] = "@" + files[i]
	}

	patches, err := configpatcher.LoadPatches(files)
	if err != nil {
		return nil, err
	}

	out, err := configpatcher.Apply(configpatcher.WithBytes(cfg), patches)
	if err != nil {
		return nil, err
	}

	return out.Bytes()
}

func duplicates(r registries) []string {
	found := []string{}

	for name, m := range r.Mirrors {
		seen := map[string]bool{}

		for _, e := range m.Endpoints {
			if seen[e.URL] {
				found = append(found, name+": "+e.URL)
			}

			seen[e.URL] = true
		}
	}

	return found
}

// messages takes a multierror apart.
func messages(err error) []string {
	if err == nil {
		return []string{}
	}

	var many interface{ WrappedErrors() []error }
	if !errors.As(err, &many) {
		return []string{err.Error()}
	}

	var out []string
	for _, e := range many.WrappedErrors() {
		out = append(out, e.Error())
	}

	return out
}
