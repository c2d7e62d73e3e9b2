// Reads a compose file as docker compose does, and says what its service would be.
package main

import (
	"context"
	"fmt"
	"os"

	"github.com/compose-spec/compose-go/v2/cli"
)

func main() {
	options, err := cli.NewProjectOptions([]string{os.Args[1]}, cli.WithName("talmirror"), cli.WithConsistency(true))
	if err != nil {
		fail(err)
	}
	project, err := options.LoadProject(context.Background())
	if err != nil {
		fail(err)
	}
	service, err := project.GetService("talmirror-cache")
	if err != nil {
		fail(err)
	}
	if !service.ReadOnly || service.User != "65532:65532" || len(service.CapDrop) != 1 || len(service.Ports) != 2 || len(service.Configs) != 1 {
		fail(fmt.Errorf("it is not confined as it should be: %+v", service))
	}
	// Compose copies inline content into the container, which a read-only root does not take.
	for _, own := range service.Configs {
		config := project.Configs[own.Source]
		if config.Content != "" || config.Environment != "" {
			fail(fmt.Errorf("config %s is copied into a container whose root is read-only", own.Source))
		}
		if _, err := os.Stat(config.File); err != nil {
			fail(err)
		}
	}
	fmt.Println(service.Image)
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}
