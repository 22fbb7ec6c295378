import com.helger.diver.api.coord.DVRCoordinate;
import com.helger.io.resource.FileSystemResource;
import com.helger.phive.api.execute.ValidationExecutionManager;
import com.helger.phive.api.executorset.ValidationExecutorSetRegistry;
import com.helger.phive.api.validity.IValidityDeterminator;
import com.helger.phive.en16931.EN16931Validation;
import com.helger.phive.peppol.PeppolValidation;
import com.helger.phive.peppol.PeppolValidation2026_05;
import com.helger.phive.xml.source.IValidationSourceXML;
import com.helger.phive.xml.source.ValidationSourceXML;
import com.helger.phive.xrechnung.XRechnungValidation;
import java.io.File;
import java.io.PrintStream;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;

/**
 * Holds every file that it is given against the XML Schema of UBL 2.1 and EN 16931 1.3.16, and one that says it is
 * Peppol BIS Billing 3.0 or XRechnung 3.0 also against that, in the versions 3.0.21 of May 2026 and 3.0.2. Prints a line
 * for each finding, warnings too: the file, the rule, its severity and what it says, with tabs between them.
 */
public class EInvoice {
  public static void main(String[] files) throws Exception {
    PrintStream out = new PrintStream(System.out, true, "UTF-8");
    ValidationExecutorSetRegistry<IValidationSourceXML> sets = new ValidationExecutorSetRegistry<>();
    EN16931Validation.initEN16931(sets);
    PeppolValidation.initStandard(sets);
    XRechnungValidation.initXRechnung(sets);
    for (String file : files) {
      List<DVRCoordinate> against = new ArrayList<>(List.of(EN16931Validation.VID_UBL_INVOICE_1316));
      String content = Files.readString(Path.of(file));
      if (content.contains("urn:fdc:peppol.eu:2017:poacc:billing:3.0")) {
        against.add(PeppolValidation2026_05.VID_OPENPEPPOL_INVOICE_UBL_V3);
      }
      if (content.contains("urn:xeinkauf.de:kosit:xrechnung")) {
        against.add(XRechnungValidation.VID_XRECHNUNG_UBL_INVOICE_302);
      }
      for (DVRCoordinate rules : against) {
        var results = ValidationExecutionManager.executeValidation(
            IValidityDeterminator.createDefault(), sets.getOfID(rules),
            ValidationSourceXML.create(new FileSystemResource(new File(file))), Locale.ENGLISH);
        results.forEachFlattened(e -> out.println(String.join("\t", file, String.valueOf(e.getErrorID()),
            e.getErrorLevel().getID(), String.valueOf(e.getErrorText(Locale.ENGLISH)).replaceAll("\\s+", " "))));
      }
      out.println(String.join("\t", file, "validated"));
    }
  }
}
