//go:build !talos19 && !talos111

package main

import "github.com/siderolabs/talos/pkg/machinery/config"

// read goes through the accessors of Talos 1.12 and later, which merge the legacy block with the documents.
func read(cfg config.Provider) registries {
	r := registries{Mirrors: map[string]mirror{}, Auth: map[string]auth{}, TLS: map[string]tlsConfig{}}

	for name, m := range cfg.RegistryMirrorConfigs() {
		out := mirror{Endpoints: []endpoint{}, SkipFallback: m.SkipFallback()}
		for _, e := range m.Endpoints() {
			out.Endpoints = append(out.Endpoints, endpoint{e.Endpoint(), e.OverridePath()})
		}

		r.Mirrors[name] = out
	}

	for host, a := range cfg.RegistryAuthConfigs() {
		r.Auth[host] = newAuth(a)
	}

	for host, t := range cfg.RegistryTLSConfigs() {
		out := tlsConfig{CA: string(t.CA()), InsecureSkipVerify: t.InsecureSkipVerify()}
		if id := t.ClientIdentity(); id != nil {
			out.ClientIdentity = &clientIdentity{string(id.Crt), string(id.Key)}
		}

		r.TLS[host] = out
	}

	return r
}
