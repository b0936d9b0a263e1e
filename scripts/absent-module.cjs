// Stands in the bundle for optional native modules, of which none is: whoever asks for one hears that it is not there.
throw Object.assign(new Error('This module is not part of the bundle.'), { code: 'MODULE_NOT_FOUND' })
