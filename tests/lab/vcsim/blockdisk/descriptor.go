package blockdisk

import (
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"
	"strings"
)

// writeDescriptor writes the text file that makes a layer a real VMDK (qemu-img and virt-v2v can open the base).
func (d *Disk) writeDescriptor(l *Layer) error {
	cylinders := min(d.capacity/512/(255*63), 65535)
	kind, extent, parentCID, hint := "vmfs", "VMFS", "ffffffff", ""
	if l.parent != nil {
		kind, extent, parentCID = "vmfsSparse", "VMFSSPARSE", contentID(l.parent.Name)
		hint = fmt.Sprintf("parentFileNameHint=%q\n", l.parent.Name)
	}
	var b strings.Builder
	fmt.Fprintf(&b, "# Disk DescriptorFile\nversion=1\nencoding=\"UTF-8\"\nCID=%s\nparentCID=%s\n", contentID(l.Name), parentCID)
	fmt.Fprintf(&b, "createType=%q\n%s\n# Extent description\nRW %d %s %q\n", kind, hint, d.capacity/512, extent, l.data)
	if l.parent == nil {
		fmt.Fprintf(&b, "\n# The Disk Data Base\n#DDB\n\nddb.adapterType = \"lsilogic\"\n"+
			"ddb.geometry.cylinders = \"%d\"\nddb.geometry.heads = \"255\"\nddb.geometry.sectors = \"63\"\n"+
			"ddb.virtualHWVersion = \"19\"\n", cylinders)
		if d.thin {
			b.WriteString("ddb.thinProvisioned = \"1\"\n")
		}
	}
	return os.WriteFile(filepath.Join(d.dir, l.Name), []byte(b.String()), 0o600)
}

// contentID only has to be stable and differ between layers; vSphere's changes with the content.
func contentID(name string) string {
	return fmt.Sprintf("%08x", crc32.ChecksumIEEE([]byte(name))&0xfffffffe)
}
