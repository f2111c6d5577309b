// Stand-ins with the signatures of Android, ONNX Runtime and LiteRT, so that what needs them compiles without a device.
package android.content

import android.net.Uri
import java.io.InputStream

class AssetManager { fun open(name: String): InputStream = TODO(name) }

abstract class Context {
    val assets: AssetManager get() = TODO()
    val contentResolver: ContentResolver get() = TODO()
}

abstract class ContentResolver { fun openInputStream(uri: Uri): InputStream? = TODO(uri.toString()) }
