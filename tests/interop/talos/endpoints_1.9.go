//go:build talos19

package main

import "github.com/siderolabs/talos/pkg/machinery/config/config"

// endpoints: Talos 1.9 has one overridePath per mirror.
func endpoints(m config.RegistryMirrorConfig) []endpoint {
	out := []endpoint{}
	for _, url := range m.Endpoints() {
		out = append(out, endpoint{url, m.OverridePath()})
	}

	return out
}
