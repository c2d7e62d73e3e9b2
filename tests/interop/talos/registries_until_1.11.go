//go:build talos19 || talos111

package main

import "github.com/siderolabs/talos/pkg/machinery/config"

// read goes through the accessors of Talos up to 1.11, which know the legacy block only.
func read(cfg config.Provider) registries {
	r := registries{Mirrors: map[string]mirror{}, Auth: map[string]auth{}, TLS: map[string]tlsConfig{}}

	if cfg.Machine() == nil {
		return r
	}

	for name, m := range cfg.Machine().Registries().Mirrors() {
		r.Mirrors[name] = mirror{Endpoints: endpoints(m), SkipFallback: m.SkipFallback()}
	}

	for host, c := range cfg.Machine().Registries().Config() {
		if a := c.Auth(); a != nil {
			r.Auth[host] = newAuth(a)
		}

		if t := c.TLS(); t != nil {
			out := tlsConfig{CA: string(t.CA()), InsecureSkipVerify: t.InsecureSkipVerify()}
			if id := t.ClientIdentity(); id != nil {
				out.ClientIdentity = &clientIdentity{string(id.Crt), string(id.Key)}
			}

			r.TLS[host] = out
		}
	}

	return r
}
