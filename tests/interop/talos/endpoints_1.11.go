//go:build talos111

package main

import "github.com/siderolabs/talos/pkg/machinery/config/config"

func endpoints(m config.RegistryMirrorConfig) []endpoint {
	out := []endpoint{}
	for _, e := range m.Endpoints() {
		out = append(out, endpoint{e.Endpoint(), e.OverridePath()})
	}

	return out
}
