module example.org/verify-assertion

go 1.21
