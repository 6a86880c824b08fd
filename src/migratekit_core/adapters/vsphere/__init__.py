"""The source side: vCenter or ESXi through pyVmomi. Only this package imports it."""
